#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/http/sampling_fields.h"

namespace mimo::http {

// What a body of /v1/completions asks for: a request to the engine for each prompt.
struct CompletionCall {
  std::vector<v1::GenerateRequest> requests;
  StreamFields stream;
  int32_t num_outputs = 1;  // of each prompt: choice i * n + k is output k of prompt i
  bool echo = false;
  bool logprobs = false;
  bool only_prompt = false;          // max_tokens = 0 with echo: what is drawn is left out
  std::vector<std::string> ignored;  // fields that this server does not know
};
// What one body may ask for.
struct CompletionLimits {
  int32_t num_outputs_max = 64;  // of a prompt
  // What is ever let in together: more would be told to come back for ever.
  int32_t requests_max = INT32_MAX;
  int32_t sequences_max = INT32_MAX;
};
std::optional<ApiError> read_completion(const Json& body, const CompletionLimits& limits,
                                        CompletionCall* call);

}  // namespace mimo::http
