#include "coordinator/sessions/request_error.h"

#include <utility>

namespace mimo::coordinator {
namespace {

v1::ErrorCode error_code(Code code) {
  switch (code) {
    case Code::kInvalidArgument:
    case Code::kOutOfRange:
      return v1::ERROR_CODE_INVALID_ARGUMENT;
    case Code::kUnimplemented:
      return v1::ERROR_CODE_UNSUPPORTED_FEATURE;
    case Code::kNotFound:
      return v1::ERROR_CODE_MODEL_NOT_FOUND;
    case Code::kAlreadyExists:
      return v1::ERROR_CODE_DUPLICATE_REQUEST;
    case Code::kResourceExhausted:
      return v1::ERROR_CODE_OVERLOADED;
    case Code::kCancelled:
      return v1::ERROR_CODE_CANCELLED;
    case Code::kUnavailable:
      return v1::ERROR_CODE_UNAVAILABLE;
    default:
      return v1::ERROR_CODE_INTERNAL;
  }
}

}  // namespace

v1::ErrorEvent RequestError::event() const {
  v1::ErrorEvent event;
  event.set_code(code);
  event.set_message(error.message);
  event.set_retryable(retryable);
  return event;
}

RequestError request_error(Error error) {
  RequestError refused;
  // A failure without a code would end the stream with OK.
  if (error.code == Code::kOk) error = internal_error("failed without a code: " + error.message);
  refused.code = error_code(error.code);
  refused.retryable = error.code == Code::kResourceExhausted || error.code == Code::kUnavailable;
  refused.error = std::move(error);
  return refused;
}

RequestError draining_error() {
  RequestError refused = request_error(unavailable("the server is draining"));
  refused.code = v1::ERROR_CODE_DRAINING;
  return refused;
}

}  // namespace mimo::coordinator
