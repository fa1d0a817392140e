// The arithmetic half of operators.h.
#include <cmath>
#include <limits>
#include <string>

#include "coordinator/template/format.h"
#include "coordinator/template/operators.h"
#include "coordinator/template/printing.h"

namespace mimo::chat {
namespace {

Error unsupported(Operator op, const Value& a, const Value& b) {
  for (const Value* value : {&a, &b}) {
    if (value->is_undefined()) return invalid_argument(value->undefined_reason());
  }
  return invalid_argument(std::string("cannot compute ") + a.type_name() + " " + symbol(op) + " " +
                          b.type_name());
}

Error overflow(Operator op) {
  return invalid_argument(std::string("an integer past 64 bits comes out of ") + symbol(op));
}

Error zero_division() { return invalid_argument("division by zero"); }

Result<Value> integer_power(int64_t base, int64_t exponent) {
  int64_t result = 1;
  if (base == 0 || base == 1) return Value::integer(exponent == 0 ? 1 : base);
  if (base == -1) return Value::integer(exponent % 2 == 0 ? 1 : -1);
  for (int64_t i = 0; i < exponent; ++i) {
    if (__builtin_mul_overflow(result, base, &result)) return overflow(Operator::kPower);
  }
  return Value::integer(result);
}

Result<Value> real_power(double a, double b) {
  if (a == 0 && b < 0) return zero_division();
  if (a < 0 && std::isfinite(a) && std::isfinite(b) && b != std::floor(b))
    return invalid_argument("a negative number to a fractional power is complex");
  const double result = std::pow(a, b);
  if (std::isinf(result) && std::isfinite(a) && std::isfinite(b))
    return invalid_argument("the result of ** is too large");
  return Value::real(result);
}

// Floor division of ints; *remainder has the sign of b.
int64_t floor_divide(int64_t a, int64_t b, int64_t* remainder) {
  int64_t quotient = a / b;
  *remainder = a % b;
  if (*remainder != 0 && (*remainder < 0) != (b < 0)) {
    --quotient;
    *remainder += b;
  }
  return quotient;
}

Result<Value> integer_compute(Operator op, int64_t a, int64_t b) {
  int64_t result = 0;
  bool too_large = false;
  switch (op) {
    case Operator::kAdd:
      too_large = __builtin_add_overflow(a, b, &result);
      break;
    case Operator::kSubtract:
      too_large = __builtin_sub_overflow(a, b, &result);
      break;
    case Operator::kMultiply:
      too_large = __builtin_mul_overflow(a, b, &result);
      break;
    case Operator::kPower:
      if (b < 0) return real_power(static_cast<double>(a), static_cast<double>(b));
      return integer_power(a, b);
    case Operator::kDivide:
      if (b == 0) return zero_division();
      return Value::real(
          static_cast<double>(static_cast<long double>(a) / static_cast<long double>(b)));
    default: {
      if (b == 0) return zero_division();
      if (b == -1) {  // the one division that can overflow
        if (op == Operator::kModulo) return Value::integer(0);
        too_large = __builtin_sub_overflow(int64_t{0}, a, &result);
        break;
      }
      int64_t remainder = 0;
      result = floor_divide(a, b, &remainder);
      if (op == Operator::kModulo) result = remainder;
    }
  }
  if (too_large) return overflow(op);
  return Value::integer(result);
}

// Python's float divmod: the remainder has the sign of b, the quotient is whole.
void real_divmod(double a, double b, double* quotient, double* remainder) {
  double mod = std::fmod(a, b);
  double div = (a - mod) / b;
  if (mod != 0) {
    if ((b < 0) != (mod < 0)) {
      mod += b;
      div -= 1;
    }
  } else {
    mod = std::copysign(0.0, b);
  }
  double floored = std::copysign(0.0, a / b);
  if (div != 0) {
    floored = std::floor(div);
    if (div - floored > 0.5) floored += 1;
  }
  *quotient = floored;
  *remainder = mod;
}

Result<Value> real_compute(Operator op, double a, double b) {
  switch (op) {
    case Operator::kAdd:
      return Value::real(a + b);
    case Operator::kSubtract:
      return Value::real(a - b);
    case Operator::kMultiply:
      return Value::real(a * b);
    case Operator::kPower:
      return real_power(a, b);
    default: {
      if (b == 0) return zero_division();
      if (op == Operator::kDivide) return Value::real(a / b);
      double quotient = 0, remainder = 0;
      real_divmod(a, b, &quotient, &remainder);
      return Value::real(op == Operator::kModulo ? remainder : quotient);
    }
  }
}

Result<Value> add_texts(Machine& machine, const Value& a, const Value& b) {
  TRY(machine.fits(static_cast<int64_t>(a.as_text().size() + b.as_text().size())));
  const bool markup = a.is_markup() || b.is_markup();
  if (!markup || a.is_markup() == b.is_markup())
    return machine.text(a.as_text() + b.as_text(), markup);
  const std::string left = a.is_markup() ? a.as_text() : escape_html(a.as_text());
  return machine.text(left + (b.is_markup() ? b.as_text() : escape_html(b.as_text())), true);
}

Result<Value> add_sequences(Machine& machine, const Value& a, const Value& b) {
  std::vector<Value> items = a.items();
  items.insert(items.end(), b.items().begin(), b.items().end());
  return a.is_list() ? machine.list(std::move(items)) : machine.tuple(std::move(items));
}

Result<Value> repeat(Machine& machine, const Value& value, int64_t times) {
  times = std::max<int64_t>(times, 0);
  const auto size =
      static_cast<int64_t>(value.is_text() ? value.as_text().size() : value.items().size());
  if (size > 0 && times > std::numeric_limits<int64_t>::max() / size) return machine.exhausted();
  if (value.is_text()) {
    TRY(machine.fits(size * times));
    std::string out;
    out.reserve(static_cast<size_t>(size * times));
    for (int64_t i = 0; i < times && size > 0; ++i) out += value.as_text();
    return machine.text(std::move(out), value.is_markup());
  }
  if (!machine.spend(size * times)) return machine.exhausted();
  std::vector<Value> items;
  for (int64_t i = 0; i < times && size > 0; ++i)
    items.insert(items.end(), value.items().begin(), value.items().end());
  return value.is_list() ? machine.list(std::move(items)) : machine.tuple(std::move(items));
}

}  // namespace

const char* symbol(Operator op) {
  constexpr const char* kSymbols[] = {
      "+", "-", "*", "/", "//", "%", "**", "==", "!=", "<", "<=", ">", ">=", "in", "not in"};
  return kSymbols[static_cast<size_t>(op)];
}

Result<Value> compute(Machine& machine, Operator op, const Value& a, const Value& b) {
  if (a.is_integer() && b.is_integer()) return integer_compute(op, a.as_integer(), b.as_integer());
  if (a.is_number() && b.is_number()) return real_compute(op, a.as_real(), b.as_real());
  if (op == Operator::kAdd) {
    if (a.is_text() && b.is_text()) return add_texts(machine, a, b);
    if (a.is_sequence() && b.is_sequence() && a.is_list() == b.is_list())
      return add_sequences(machine, a, b);
  }
  if (op == Operator::kMultiply) {
    if ((a.is_text() || a.is_sequence()) && b.is_integer())
      return repeat(machine, a, b.as_integer());
    if ((b.is_text() || b.is_sequence()) && a.is_integer())
      return repeat(machine, b, a.as_integer());
  }
  // str % undefined goes to str, which may not even look at it.
  if (op == Operator::kModulo && a.is_text()) return percent_format(machine, a, b);
  return unsupported(op, a, b);
}

Result<Value> negate(const Value& value) {
  if (value.is_float()) return Value::real(-value.as_real());
  if (value.is_integer()) return integer_compute(Operator::kSubtract, 0, value.as_integer());
  if (value.is_undefined()) return invalid_argument(value.undefined_reason());
  return invalid_argument(std::string("cannot compute -") + value.type_name());
}

Result<Value> plus(const Value& value) {
  if (value.is_float()) return value;
  if (value.is_integer()) return Value::integer(value.as_integer());
  if (value.is_undefined()) return invalid_argument(value.undefined_reason());
  return invalid_argument(std::string("cannot compute +") + value.type_name());
}

}  // namespace mimo::chat
