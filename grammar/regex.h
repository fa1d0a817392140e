#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace mimo::grammar {

// Code points, both ends included.
struct CharRange {
  char32_t first = 0;
  char32_t last = 0;
  bool operator==(const CharRange&) const = default;
};

// A set of texts: what a regular expression stands for.
struct Regex {
  enum class Kind : uint8_t { kSet, kSequence, kChoice, kRepeat };
  Kind kind = Kind::kSequence;  // without parts: the empty text
  std::vector<CharRange> set;   // kSet: one character; sorted, apart, never empty
  std::vector<Regex> parts;     // kSequence, kChoice; kRepeat has one
  int32_t min = 0;              // kRepeat
  int32_t max = kUnbounded;     // kRepeat
  static constexpr int32_t kUnbounded = -1;
};

struct RegexLimits {
  int64_t bytes_max = 16 << 10;
  int32_t depth_max = 64;           // groups in groups
  int64_t characters_max = 20'000;  // with every bounded repetition written out
};

// ECMAScript's syntax without what no automaton can do and without what its dialects read
// differently: no lookaround, back references, word boundaries, flags or \p. `^` and `$` only where
// a whole alternative begins and ends. `.` is any character but \n, \r, U+2028 and U+2029. No set
// holds NUL or a surrogate.
//
// `whole`: the expression matches the whole text and anchors change nothing; else it is looked for
// in the text, as JSON Schema's `pattern` is, and the result stands for all texts that have it.
// kInvalidArgument names the byte and what is wrong.
Result<Regex> parse_regex(std::string_view pattern, bool whole, const RegexLimits& limits);

// Texts by how they are written between the quotes of a JSON string. A character that may stand as
// it is has that one spelling; others have their short escape or \u00XX. kInvalidArgument never.
Regex json_spelling(const Regex& regex);

// How many characters the texts have; `max` is kUnbounded where there is no bound.
struct TextLength {
  int64_t min = 0;
  int64_t max = 0;
};
TextLength length_of(const Regex& regex);

// Sets: sorted and apart.
std::vector<CharRange> normal_set(std::vector<CharRange> ranges);
std::vector<CharRange> complement_set(const std::vector<CharRange>& set);

Regex any_of(std::vector<CharRange> ranges);
Regex literal_regex(std::u32string_view text);
Regex repeat_regex(Regex part, int32_t min, int32_t max);
Regex sequence_regex(std::vector<Regex> parts);
Regex choice_regex(std::vector<Regex> parts);

}  // namespace mimo::grammar
