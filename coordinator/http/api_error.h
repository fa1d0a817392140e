#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"
#include "coordinator/sessions/request_error.h"

namespace mimo::http {

// A refusal as OpenAI's clients read it.
struct ApiError {
  int32_t status = 500;
  std::string message;
  std::string type = "invalid_request_error";
  std::string param;            // the request's field; empty: null
  std::string code;             // empty: null
  int64_t retry_after_ms = -1;  // when to come back; -1 = not said
};

// A request that cannot be taken as it is: 400, with the field's name.
ApiError bad_request(std::string param, std::string message);

// The engine's refusal. Its fields' names become OpenAI's: sampling.num_sequences is n.
ApiError api_error(const Error& error);
ApiError api_error(const coordinator::RequestError& error);

// {"error": {"message", "type", "param", "code"}}
std::string error_body(const ApiError& error);

// "Not Found" of 404.
const char* reason_phrase(int32_t status);

}  // namespace mimo::http
