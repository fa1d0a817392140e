#include "grammar/number_texts.h"

#include <algorithm>
#include <cstdlib>
#include <utility>
#include <vector>

namespace mimo::grammar {
namespace {

using Texts = std::optional<Regex>;  // nothing: none

constexpr int32_t kDigitsMax = 15;
constexpr int32_t kFractionDigits = 6;  // at least these, where a bound has no more

Regex digits(int32_t min, int32_t max) { return repeat_regex(any_of({{'0', '9'}}), min, max); }

Regex text_of(const std::string& ascii) {
  return literal_regex(std::u32string(ascii.begin(), ascii.end()));
}

Texts either(std::vector<Texts> all) {
  Regex choice;
  choice.kind = Regex::Kind::kChoice;
  for (Texts& one : all)
    if (one) choice.parts.push_back(std::move(*one));
  if (choice.parts.empty()) return std::nullopt;
  if (choice.parts.size() == 1) return std::move(choice.parts.front());
  return choice;
}

Texts joined(Texts first, Texts second) {
  if (!first || !second) return std::nullopt;
  Regex sequence;
  sequence.parts = {std::move(*first), std::move(*second)};
  return sequence;
}

Texts digit_between(char first, char last) {
  if (first > last) return std::nullopt;
  return any_of({{static_cast<char32_t>(first), static_cast<char32_t>(last)}});
}

// --- Whole numbers -------------------------------------------------------------------------------

// Digit strings of one length, low <= high.
Regex same_length(const std::string& low, const std::string& high) {
  const auto length = static_cast<int32_t>(low.size());
  if (low == high) return text_of(low);
  if (low == std::string(low.size(), '0') && high == std::string(high.size(), '9'))
    return digits(length, length);
  const std::string rest_low = low.substr(1), rest_high = high.substr(1);
  const Texts head_low = digit_between(low[0], low[0]), head_high = digit_between(high[0], high[0]);
  if (low[0] == high[0]) return *joined(head_low, same_length(rest_low, rest_high));
  const std::string nines(rest_low.size(), '9'), zeros(rest_low.size(), '0');
  // The first digit is free where what follows is.
  const auto first = static_cast<char>(rest_low == zeros ? low[0] : low[0] + 1);
  const auto last = static_cast<char>(rest_high == nines ? high[0] : high[0] - 1);
  return *either({first == low[0] ? Texts() : joined(head_low, same_length(rest_low, nines)),
                  joined(digit_between(first, last), digits(length - 1, length - 1)),
                  last == high[0] ? Texts() : joined(head_high, same_length(zeros, rest_high))});
}

// 0 <= low <= high.
Texts natural_texts(int64_t low, int64_t high) {
  std::vector<Texts> all;
  const auto low_digits = static_cast<int32_t>(std::to_string(low).size());
  const auto high_digits = static_cast<int32_t>(std::to_string(high).size());
  for (int32_t n = low_digits; n <= high_digits; ++n) {
    const std::string first =
        n == low_digits ? std::to_string(low) : "1" + std::string(static_cast<size_t>(n - 1), '0');
    const std::string last =
        n == high_digits ? std::to_string(high) : std::string(static_cast<size_t>(n), '9');
    all.push_back(same_length(first, last));
  }
  return either(std::move(all));
}

// --- Fractions: what follows the whole part, the empty text included -----------------------------

// After `fraction`'s first `at` digits: what makes the whole at least (or more than) it.
Texts digits_above(const std::string& fraction, size_t at, bool exclusive, int32_t room) {
  if (at == fraction.size()) {
    if (!exclusive) return digits(0, room);
    if (room == 0) return std::nullopt;
    return joined(repeat_regex(any_of({{'0', '0'}}), 0, room - 1), digit_between('1', '9'));
  }
  if (room == 0) return std::nullopt;
  const char digit = fraction[at];
  return either(
      {joined(digit_between(static_cast<char>(digit + 1), '9'), digits(0, room - 1)),
       joined(digit_between(digit, digit), digits_above(fraction, at + 1, exclusive, room - 1))});
}

// What keeps the whole at most (or below) it. To stop early is to be below.
Texts digits_below(const std::string& fraction, size_t at, bool exclusive, int32_t room) {
  const Texts stop = Regex{};
  if (at == fraction.size()) return exclusive ? Texts() : stop;
  if (room == 0) return at > 0 ? stop : Texts();
  const char digit = fraction[at];
  return either(
      {at > 0 ? stop : Texts(),
       joined(digit_between('0', static_cast<char>(digit - 1)), digits(0, room - 1)),
       joined(digit_between(digit, digit), digits_below(fraction, at + 1, exclusive, room - 1))});
}

const Regex kPoint = any_of({{'.', '.'}});

Texts fraction_above(const DecimalBound& low, int32_t room) {
  Texts some = joined(kPoint, digits_above(low.fraction, 0, low.exclusive, room));
  if (!low.fraction.empty() || low.exclusive) return some;
  if (room <= 0) return Regex{};
  return either({Regex{}, joined(kPoint, digits(1, room))});
}

Texts fraction_below(const DecimalBound& high, int32_t room) {
  if (high.fraction.empty()) return high.exclusive ? Texts() : Regex{};
  return either({Regex{}, joined(kPoint, digits_below(high.fraction, 0, high.exclusive, room))});
}

// Both bounds have this whole part.
Texts digits_between(const DecimalBound& low, const DecimalBound& high, size_t at, int32_t room) {
  if (at == low.fraction.size() && !low.exclusive)
    return digits_below(high.fraction, at, high.exclusive, room);
  if (room == 0) return std::nullopt;
  const char first = at < low.fraction.size() ? low.fraction[at] : '0';
  if (at >= high.fraction.size()) return std::nullopt;
  const char last = high.fraction[at];
  if (first > last) return std::nullopt;
  if (first == last)
    return joined(digit_between(first, first), digits_between(low, high, at + 1, room - 1));
  return either({joined(digit_between(first, first),
                        digits_above(low.fraction, std::min(at + 1, low.fraction.size()),
                                     low.exclusive, room - 1)),
                 joined(digit_between(static_cast<char>(first + 1), static_cast<char>(last - 1)),
                        digits(0, room - 1)),
                 joined(digit_between(last, last),
                        digits_below(high.fraction, at + 1, high.exclusive, room - 1))});
}

Texts fraction_between(const DecimalBound& low, const DecimalBound& high, int32_t room) {
  const bool absent =
      low.fraction.empty() && !low.exclusive && (!high.fraction.empty() || !high.exclusive);
  return either(
      {absent ? Texts(Regex{}) : Texts(),
       high.fraction.empty() ? Texts() : joined(kPoint, digits_between(low, high, 0, room))});
}

// --- Decimals ------------------------------------------------------------------------------------

// 0 <= low, high.
Texts magnitude_texts(const DecimalBound& low, const DecimalBound& high) {
  const int64_t first = std::atoll(low.whole.c_str()), last = std::atoll(high.whole.c_str());
  if (first > last) return std::nullopt;
  const auto longest = static_cast<int32_t>(
      std::max({low.fraction.size(), high.fraction.size(), size_t{kFractionDigits}}));
  const int32_t room = std::min(longest + 1, kDigitsMax - static_cast<int32_t>(high.whole.size()));
  if (first == last) return joined(text_of(low.whole), fraction_between(low, high, room));
  const Texts any_fraction =
      room <= 0 ? Texts(Regex{}) : either({Regex{}, joined(kPoint, digits(1, room))});
  return either(
      {joined(text_of(low.whole), fraction_above(low, room)),
       last - first < 2 ? Texts() : joined(natural_texts(first + 1, last - 1), any_fraction),
       joined(text_of(high.whole), fraction_below(high, room))});
}

DecimalBound without_sign(DecimalBound bound) {
  bound.negative = false;
  return bound;
}

}  // namespace

Texts integer_texts(std::optional<int64_t> low, std::optional<int64_t> high) {
  int64_t largest = 1;
  for (int32_t i = 0; i < kIntegerDigitsMax; ++i) largest *= 10;
  --largest;
  const int64_t first = std::max(low.value_or(-largest), -largest);
  const int64_t last = std::min(high.value_or(largest), largest);
  if (first > last) return std::nullopt;
  Texts below;
  if (first < 0) below = joined(text_of("-"), natural_texts(last < 0 ? -last : 1, -first));
  return either({last < 0 ? Texts() : natural_texts(std::max<int64_t>(first, 0), last), below});
}

Result<DecimalBound> DecimalBound::parse(const std::string& json_number, bool exclusive) {
  DecimalBound bound;
  bound.exclusive = exclusive;
  bound.negative = json_number[0] == '-';
  const size_t mark = json_number.find_first_of("eE");
  std::string mantissa =
      json_number.substr(bound.negative ? 1 : 0, mark - (bound.negative ? 1 : 0));
  const int32_t exponent =
      mark == std::string::npos ? 0 : std::atoi(json_number.c_str() + mark + 1);
  const auto refused = [&] {
    return invalid_argument("is " + json_number + ": expected a number of at most " +
                            std::to_string(kDigitsMax) + " digits");
  };
  if (std::abs(exponent) > kDigitsMax) return refused();
  const size_t point = std::min(mantissa.find('.'), mantissa.size());
  const auto whole_digits = static_cast<int32_t>(point) + exponent;
  mantissa.erase(point, 1);
  if (whole_digits < 0) mantissa.insert(0, static_cast<size_t>(-whole_digits), '0');
  const auto cut = static_cast<size_t>(std::max(whole_digits, 0));
  if (cut > mantissa.size()) mantissa.append(cut - mantissa.size(), '0');
  bound.whole = mantissa.substr(0, cut);
  bound.fraction = mantissa.substr(cut);
  bound.whole.erase(0, std::min(bound.whole.find_first_not_of('0'), bound.whole.size()));
  if (bound.whole.empty()) bound.whole = "0";
  while (!bound.fraction.empty() && bound.fraction.back() == '0') bound.fraction.pop_back();
  if (bound.whole.size() + bound.fraction.size() > static_cast<size_t>(kDigitsMax))
    return refused();
  if (bound.whole == "0" && bound.fraction.empty()) bound.negative = false;
  return bound;
}

Texts decimal_texts(const std::optional<DecimalBound>& low,
                    const std::optional<DecimalBound>& high) {
  DecimalBound zero, far;
  // Nine digits before the point leave six after it.
  far.whole = std::string(kDigitsMax - kFractionDigits, '9');
  if (low && !low->negative && low->whole.size() > far.whole.size())
    far.whole = std::string(kDigitsMax, '9');
  DecimalBound far_below = far;
  far_below.negative = true;
  if (high && high->negative && high->whole.size() > far.whole.size())
    far_below.whole = std::string(kDigitsMax, '9');
  const DecimalBound first = low.value_or(far_below), last = high.value_or(far);

  Texts below;
  if (first.negative) {
    DecimalBound above_zero = zero;
    above_zero.exclusive = true;
    below = joined(text_of("-"), magnitude_texts(last.negative ? without_sign(last) : above_zero,
                                                 without_sign(first)));
  }
  if (last.negative) return below;
  return either({magnitude_texts(first.negative ? zero : first, last), below});
}

}  // namespace mimo::grammar
