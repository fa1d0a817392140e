#pragma once

#include <exception>
#include <optional>
#include <string_view>

#include "base/log.h"
#include "base/result.h"

namespace mimo::coordinator {

// What `work` returns; nothing, and a line in the log, when a library throws in it (memory that is
// not there, mostly): that ends the request and not the process, which has others.
template <typename Work>
auto guarded(std::string_view what, Work&& work) -> std::optional<decltype(work())> {
  try {
    return work();
  } catch (const std::exception& thrown) {
    log_error("request_failed", {{"doing", what}, {"error", thrown.what()}});
    return std::nullopt;
  }
}

// What its client is told.
inline Error failed_inside() {
  return {Code::kInternal, "the server failed while it worked on this request"};
}

}  // namespace mimo::coordinator
