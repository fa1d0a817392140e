#include "grammar/regex.h"

#include <algorithm>
#include <utility>

namespace mimo::grammar {
namespace {

constexpr char32_t kLastCharacter = 0x10ffff;
// Never in a set: NUL, and what no UTF-8 has.
constexpr CharRange kSurrogates = {0xd800, 0xdfff};
constexpr int64_t kManyCharacters = int64_t{1} << 40;

// A character that a JSON string must escape, as it is written there.
Regex escaped_character(char32_t c) {
  static constexpr char32_t kHex[] = U"0123456789abcdef";
  switch (c) {
    case '"':
      return literal_regex(U"\\\"");
    case '\\':
      return literal_regex(U"\\\\");
    case '\b':
      return literal_regex(U"\\b");
    case '\f':
      return literal_regex(U"\\f");
    case '\n':
      return literal_regex(U"\\n");
    case '\r':
      return literal_regex(U"\\r");
    case '\t':
      return literal_regex(U"\\t");
    default:
      return literal_regex(std::u32string(U"\\u00") + kHex[c >> 4 & 15] + kHex[c & 15]);
  }
}

}  // namespace

std::vector<CharRange> normal_set(std::vector<CharRange> ranges) {
  std::vector<CharRange> legal;
  for (CharRange range : ranges) {
    range.first = std::max<char32_t>(range.first, 1);
    range.last = std::min(range.last, kLastCharacter);
    if (range.first < kSurrogates.first)
      legal.push_back({range.first, std::min<char32_t>(range.last, kSurrogates.first - 1)});
    if (range.last > kSurrogates.last)
      legal.push_back({std::max<char32_t>(range.first, kSurrogates.last + 1), range.last});
  }
  std::sort(legal.begin(), legal.end(),
            [](const CharRange& a, const CharRange& b) { return a.first < b.first; });
  std::vector<CharRange> apart;
  for (const CharRange& range : legal) {
    if (range.first > range.last) continue;
    if (!apart.empty() && range.first <= apart.back().last + 1)
      apart.back().last = std::max(apart.back().last, range.last);
    else
      apart.push_back(range);
  }
  return apart;
}

std::vector<CharRange> complement_set(const std::vector<CharRange>& set) {
  std::vector<CharRange> rest;
  char32_t next = 1;
  for (const CharRange& range : normal_set(set)) {
    if (range.first > next) rest.push_back({next, range.first - 1});
    next = range.last + 1;
  }
  if (next <= kLastCharacter) rest.push_back({next, kLastCharacter});
  return normal_set(std::move(rest));
}

Regex any_of(std::vector<CharRange> ranges) {
  Regex regex;
  regex.kind = Regex::Kind::kSet;
  regex.set = normal_set(std::move(ranges));
  return regex;
}

Regex literal_regex(std::u32string_view text) {
  Regex regex;
  for (const char32_t c : text) regex.parts.push_back(any_of({{c, c}}));
  return regex;
}

Regex repeat_regex(Regex part, int32_t min, int32_t max) {
  Regex regex;
  regex.kind = Regex::Kind::kRepeat;
  regex.min = min;
  regex.max = max;
  regex.parts.push_back(std::move(part));
  return regex;
}

Regex sequence_regex(std::vector<Regex> parts) {
  if (parts.size() == 1) return std::move(parts.front());
  Regex regex;
  regex.parts = std::move(parts);
  return regex;
}

Regex choice_regex(std::vector<Regex> parts) {
  if (parts.size() == 1) return std::move(parts.front());
  Regex regex;
  regex.kind = Regex::Kind::kChoice;
  regex.parts = std::move(parts);
  return regex;
}

Regex json_spelling(const Regex& regex) {
  Regex spelled = regex;
  spelled.parts.clear();
  for (const Regex& part : regex.parts) spelled.parts.push_back(json_spelling(part));
  if (regex.kind != Regex::Kind::kSet) return spelled;

  Regex choice;
  choice.kind = Regex::Kind::kChoice;
  std::vector<CharRange> plain;
  for (const CharRange& range : regex.set) {
    char32_t c = range.first;
    for (; c <= range.last && c <= '\\'; ++c) {
      if (c < ' ' || c == '"' || c == '\\')
        choice.parts.push_back(escaped_character(c));
      else
        plain.push_back({c, c});
    }
    if (c <= range.last) plain.push_back({c, range.last});
  }
  if (choice.parts.empty()) return any_of(std::move(plain));
  if (!plain.empty()) choice.parts.insert(choice.parts.begin(), any_of(std::move(plain)));
  if (choice.parts.size() == 1) return std::move(choice.parts.front());
  return choice;
}

TextLength length_of(const Regex& regex) {
  if (regex.kind == Regex::Kind::kSet) return {1, 1};
  TextLength sum;
  for (size_t i = 0; i < regex.parts.size(); ++i) {
    const TextLength part = length_of(regex.parts[i]);
    const bool unbounded = sum.max == Regex::kUnbounded || part.max == Regex::kUnbounded;
    if (regex.kind == Regex::Kind::kChoice) {
      sum.min = i == 0 ? part.min : std::min(sum.min, part.min);
      sum.max = unbounded ? Regex::kUnbounded : std::max(sum.max, part.max);
    } else {
      sum.min = std::min(kManyCharacters, sum.min + part.min);
      sum.max = unbounded ? Regex::kUnbounded : std::min(kManyCharacters, sum.max + part.max);
    }
  }
  if (regex.kind != Regex::Kind::kRepeat) return sum;
  sum.min = std::min(kManyCharacters, sum.min * regex.min);
  if (sum.max != 0 && (sum.max == Regex::kUnbounded || regex.max == Regex::kUnbounded))
    sum.max = regex.max == 0 ? 0 : Regex::kUnbounded;
  else
    sum.max = std::min(kManyCharacters, sum.max * std::max(regex.max, 0));
  return sum;
}

}  // namespace mimo::grammar
