#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "mimo/v1/inference.pb.h"

namespace mimo::coordinator {

// Why a request was refused or ended, as its client hears it: the stream's status is error.code,
// and code is its finer name.
struct RequestError {
  v1::ErrorCode code = v1::ERROR_CODE_INTERNAL;
  Error error;
  bool retryable = false;
  int64_t retry_after_ms = -1;  // when to come back; -1 = not said

  v1::ErrorEvent event() const;
};

// The one place where a status gets its ErrorCode. Refusals for want of room or of a group are
// retryable.
RequestError request_error(Error error);

// Not retried here: this server is going away.
RequestError draining_error();

}  // namespace mimo::coordinator
