#pragma once

#include <cstdint>

#include "base/result.h"
#include "coordinator/template/machine.h"
#include "coordinator/template/value.h"

namespace mimo::chat {

enum class Operator : uint8_t {
  kAdd,
  kSubtract,
  kMultiply,
  kDivide,
  kFloorDivide,
  kModulo,
  kPower,
  kEqual,
  kNotEqual,
  kLess,
  kLessEqual,
  kGreater,
  kGreaterEqual,
  kIn,
  kNotIn,
};

// a + b and so on, as in Python but for ints past 64 bits, which are an error.
Result<Value> compute(Machine& machine, Operator op, const Value& a, const Value& b);
Result<Value> negate(const Value& value);
Result<Value> plus(const Value& value);

// a == b, a < b, a in b and so on.
Result<bool> compare(Machine& machine, Operator op, const Value& a, const Value& b);
Result<bool> equals(Machine& machine, const Value& a, const Value& b);
Result<bool> less(Machine& machine, const Value& a, const Value& b);
Result<bool> contains(Machine& machine, const Value& container, const Value& item);

// "+", "not in" and so on.
const char* symbol(Operator op);

}  // namespace mimo::chat
