#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"
#include "grammar/regex.h"

namespace mimo::grammar {

// Whole numbers are written with at most this many digits: they fit 64 bits.
inline constexpr int32_t kIntegerDigitsMax = 18;

// The whole numbers of [low, high], as JSON writes them: bounds beyond 18 digits are cut to that.
// Nothing when there are none.
std::optional<Regex> integer_texts(std::optional<int64_t> low, std::optional<int64_t> high);

// A bound as it is written, exactly: what a double prints as.
struct DecimalBound {
  bool negative = false;
  std::string whole = "0";  // without leading zeros
  std::string fraction;     // without trailing zeros
  bool exclusive = false;

  // kInvalidArgument when it has more than 15 digits, with which doubles stop being exact.
  static Result<DecimalBound> parse(const std::string& json_number, bool exclusive);
};

// The numbers between the bounds without exponents, of at most 15 digits in all, so that a decimal
// that keeps to a bound still does when it has become a double. Nothing when there are none.
std::optional<Regex> decimal_texts(const std::optional<DecimalBound>& low,
                                   const std::optional<DecimalBound>& high);

}  // namespace mimo::grammar
