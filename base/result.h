#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "base/check.h"

namespace mimo {

// gRPC's own numbers, so that a service answers with a cast and no table of translations exists.
enum class Code : int32_t {
  kOk = 0,
  kCancelled = 1,
  kUnknown = 2,
  kInvalidArgument = 3,
  kDeadlineExceeded = 4,
  kNotFound = 5,
  kAlreadyExists = 6,
  kPermissionDenied = 7,
  kResourceExhausted = 8,
  kFailedPrecondition = 9,
  kAborted = 10,
  kOutOfRange = 11,
  kUnimplemented = 12,
  kInternal = 13,
  kUnavailable = 14,
  kDataLoss = 15,
  kUnauthenticated = 16,
};

// "INVALID_ARGUMENT" and so on.
const char* code_name(Code code);

// The world's refusal: a code and one sentence with the values in it.
struct Error {
  Code code = Code::kUnknown;
  std::string message;

  // The same error, said from further out: "context: message".
  Error with_context(const std::string& context) const { return {code, context + ": " + message}; }
  std::string to_string() const { return std::string(code_name(code)) + ": " + message; }
};

inline Error invalid_argument(std::string message) {
  return {Code::kInvalidArgument, std::move(message)};
}
inline Error internal_error(std::string message) { return {Code::kInternal, std::move(message)}; }
inline Error unavailable(std::string message) { return {Code::kUnavailable, std::move(message)}; }

// A value, or an Error. value() and error() CHECK that they are there.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  T& value() & {
    require_ok();
    return std::get<0>(state_);
  }
  const T& value() const& {
    require_ok();
    return std::get<0>(state_);
  }
  T&& value() && {
    require_ok();
    return std::get<0>(std::move(state_));
  }
  const Error& error() const {
    CHECK(!ok());
    return std::get<1>(state_);
  }

 private:
  void require_ok() const {
    if (!ok()) check_failed(__FILE__, __LINE__, "Result::ok()", std::get<1>(state_).to_string());
  }
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}  // NOLINT

  bool ok() const { return !error_.has_value(); }
  explicit operator bool() const { return ok(); }
  void value() const {
    if (!ok()) check_failed(__FILE__, __LINE__, "Result::ok()", error_->to_string());
  }
  const Error& error() const {
    CHECK(!ok());
    return *error_;
  }

 private:
  std::optional<Error> error_;
};

#define MIMO_CONCAT_(a, b) a##b
#define MIMO_CONCAT(a, b) MIMO_CONCAT_(a, b)

// Returns the error of `expression` (a Result) from the function around it.
#define TRY(expression)                                           \
  do {                                                            \
    auto try_result_ = (expression);                              \
    if (!try_result_.ok()) return std::move(try_result_).error(); \
  } while (false)

// TRY_ASSIGN(const auto x, f()): x is f()'s value, or f()'s error is returned.
#define TRY_ASSIGN(declaration, expression) \
  TRY_ASSIGN_(MIMO_CONCAT(try_assign_, __LINE__), declaration, expression)
#define TRY_ASSIGN_(name, declaration, expression) \
  auto name = (expression);                        \
  if (!name.ok()) return name.error();             \
  declaration = std::move(name).value()

}  // namespace mimo
