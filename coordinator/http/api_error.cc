#include "coordinator/http/api_error.h"

#include <array>
#include <string_view>
#include <utility>

#include "coordinator/http/json_text.h"

namespace mimo::http {
namespace {

struct Rename {
  std::string_view field;
  std::string_view param;
};

// The engine's fields whose OpenAI names are not what stands behind their last dot.
constexpr std::array<Rename, 8> kRenames = {{
    {"sampling.num_sequences", "n"},
    {"stopping.stop_text", "stop"},
    {"response.output_candidates", "top_logprobs"},
    {"response.prompt_candidates", "echo"},
    {"token_ids.ids", "prompt"},
    {"token_ids", "prompt"},
    {"text", "prompt"},
    {"request_id's bytes", "request_id"},
}};

bool in_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '.';
}

// Puts OpenAI's name in the place of the engine's, at the message's beginning.
void rename_field(ApiError* error) {
  std::string& message = error->message;
  for (const Rename& rename : kRenames) {
    const size_t end = rename.field.size();
    if (message.compare(0, end, rename.field) != 0) continue;
    if (message.size() > end && in_name(message[end])) continue;
    message.replace(0, end, rename.param);
    error->param = rename.param;
    return;
  }
  for (const std::string_view part : {"sampling.", "stopping.", "response."})
    if (message.compare(0, part.size(), part) == 0) message.erase(0, part.size());
  size_t end = 0;
  while (end < message.size() && (in_name(message[end]) || message[end] == '[')) {
    if (message[end] == '[') end = std::min(message.find(']', end), message.size() - 1);
    ++end;
  }
  const std::string_view rest = std::string_view(message).substr(end);
  for (const std::string_view after : {" = ", ": ", " is "})
    if (end > 0 && rest.substr(0, after.size()) == after) error->param = message.substr(0, end);
}

struct Meaning {
  int32_t status;
  const char* type;
  const char* code;
};

Meaning meaning(Code code) {
  switch (code) {
    case Code::kInvalidArgument:
    case Code::kOutOfRange:
      return {400, "invalid_request_error", ""};
    case Code::kNotFound:
      return {404, "invalid_request_error", "model_not_found"};
    case Code::kAlreadyExists:
      return {409, "invalid_request_error", "duplicate_request"};
    case Code::kResourceExhausted:
      return {429, "rate_limit_error", "rate_limit_exceeded"};
    case Code::kCancelled:
      return {499, "request_cancelled", "cancelled"};
    case Code::kUnimplemented:
      return {501, "invalid_request_error", "unsupported_feature"};
    case Code::kUnavailable:
      return {503, "service_unavailable", "unavailable"};
    case Code::kDeadlineExceeded:
      return {504, "server_error", "deadline_exceeded"};
    default:
      return {500, "server_error", "internal_error"};
  }
}

}  // namespace

ApiError bad_request(std::string param, std::string message) {
  ApiError error;
  error.status = 400;
  error.message = std::move(message);
  error.param = std::move(param);
  return error;
}

ApiError api_error(const Error& error) {
  const Meaning meant = meaning(error.code);
  ApiError refused;
  refused.status = meant.status;
  refused.type = meant.type;
  refused.code = meant.code;
  refused.message = error.message;
  if (meant.status >= 500 && meant.status != 501) return refused;
  if (refused.message.compare(0, 10, "the prompt") == 0) refused.code = "context_length_exceeded";
  rename_field(&refused);
  return refused;
}

ApiError api_error(const coordinator::RequestError& error) {
  ApiError refused = api_error(error.error);
  refused.retry_after_ms = error.retry_after_ms;
  return refused;
}

std::string error_body(const ApiError& error) {
  const auto quoted_or_null = [](const std::string& text, std::string* out) {
    if (text.empty()) {
      *out += "null";
    } else {
      append_quoted(text, out);
    }
  };
  std::string body = "{\"error\":{\"message\":";
  append_quoted(error.message, &body);
  body += ",\"type\":";
  append_quoted(error.type, &body);
  body += ",\"param\":";
  quoted_or_null(error.param, &body);
  body += ",\"code\":";
  quoted_or_null(error.code, &body);
  body += "}}";
  return body;
}

const char* reason_phrase(int32_t status) {
  constexpr std::array<std::pair<int32_t, const char*>, 19> kPhrases = {{
      {100, "Continue"},
      {200, "OK"},
      {304, "Not Modified"},
      {400, "Bad Request"},
      {404, "Not Found"},
      {405, "Method Not Allowed"},
      {408, "Request Timeout"},
      {409, "Conflict"},
      {411, "Length Required"},
      {413, "Content Too Large"},
      {415, "Unsupported Media Type"},
      {429, "Too Many Requests"},
      {431, "Request Header Fields Too Large"},
      {499, "Client Closed Request"},
      {500, "Internal Server Error"},
      {501, "Not Implemented"},
      {503, "Service Unavailable"},
      {504, "Gateway Timeout"},
      {505, "HTTP Version Not Supported"},
  }};
  for (const auto& [number, phrase] : kPhrases)
    if (number == status) return phrase;
  return "Unknown";
}

}  // namespace mimo::http
