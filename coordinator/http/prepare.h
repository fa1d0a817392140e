#pragma once

#include <cstdint>
#include <string>

#include "coordinator/http/doors.h"
#include "coordinator/http/exchange.h"
#include "coordinator/http/generation.h"

namespace mimo::http {

// Bodies into what they ask for. Thread: any.

// Either what is to be run, or why not.
struct Preparation {
  Prepared prepared;
  std::optional<ApiError> error;
};
// `id` is the reply's, `created` its second.
Preparation prepare_completion(const Doors& doors, const std::string& body, std::string id,
                               int64_t created);
Preparation prepare_chat(const Doors& doors, const std::string& body, std::string id,
                         int64_t created);

// /tokenize and /detokenize.
HttpResponse tokenize(const Doors& doors, const std::string& body);
HttpResponse detokenize(const Doors& doors, const std::string& body);

}  // namespace mimo::http
