#include "grammar/regex.h"

#include <algorithm>
#include <utility>

#include "grammar/utf8.h"

namespace mimo::grammar {
namespace {

constexpr char32_t kLastCharacter = 0x10ffff;
// Never in a set: NUL, and what no UTF-8 has.
constexpr CharRange kSurrogates = {0xd800, 0xdfff};
constexpr int64_t kManyCharacters = int64_t{1} << 40;

void append_escaped(char32_t c, std::string* out) {
  const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                     c == ' ' || c == '_' || c == ',' || c == ':' || c == '<' || c == '>' ||
                     c == '=';
  if (plain) {
    out->push_back(static_cast<char>(c));
    return;
  }
  static constexpr char kHex[] = "0123456789ABCDEF";
  out->append("\\U");
  for (int32_t shift = 28; shift >= 0; shift -= 4) out->push_back(kHex[c >> shift & 15]);
}

bool is_one_character(const Regex& regex) {
  return regex.kind == Regex::Kind::kSet && regex.set.size() == 1 &&
         regex.set[0].first == regex.set[0].last;
}

void append_ebnf(const Regex& regex, std::string* out);

void append_sequence(const Regex& regex, std::string* out) {
  if (regex.parts.empty()) out->append("\"\"");
  for (size_t i = 0; i < regex.parts.size(); ++i) {
    if (i > 0) out->push_back(' ');
    if (!is_one_character(regex.parts[i])) {
      append_ebnf(regex.parts[i], out);
      continue;
    }
    out->push_back('"');
    for (; i < regex.parts.size() && is_one_character(regex.parts[i]); ++i)
      append_escaped(regex.parts[i].set[0].first, out);
    --i;
    out->push_back('"');
  }
}

void append_ebnf(const Regex& regex, std::string* out) {
  switch (regex.kind) {
    case Regex::Kind::kSet:
      out->append(ebnf_class(regex.set));
      return;
    case Regex::Kind::kSequence:
      append_sequence(regex, out);
      return;
    case Regex::Kind::kChoice:
      out->push_back('(');
      for (size_t i = 0; i < regex.parts.size(); ++i) {
        if (i > 0) out->append(" | ");
        append_ebnf(regex.parts[i], out);
      }
      out->push_back(')');
      return;
    case Regex::Kind::kRepeat:
      break;
  }
  const bool bare =
      regex.parts[0].kind == Regex::Kind::kSet || regex.parts[0].kind == Regex::Kind::kChoice;
  if (!bare) out->push_back('(');
  append_ebnf(regex.parts[0], out);
  if (!bare) out->push_back(')');
  if (regex.min == 0 && regex.max == Regex::kUnbounded) {
    out->push_back('*');
  } else if (regex.min == 1 && regex.max == Regex::kUnbounded) {
    out->push_back('+');
  } else if (regex.min == 0 && regex.max == 1) {
    out->push_back('?');
  } else {
    out->append("{" + std::to_string(regex.min) + ",");
    if (regex.max != Regex::kUnbounded) out->append(std::to_string(regex.max));
    out->push_back('}');
  }
}

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

std::string to_ebnf(const Regex& regex) {
  std::string out;
  append_ebnf(regex, &out);
  return out;
}

std::string ebnf_literal(std::string_view utf8) {
  std::string out = "\"";
  const auto text = from_utf8(utf8);
  CHECK(text.has_value());
  for (const char32_t c : *text) append_escaped(c, &out);
  out.push_back('"');
  return out;
}

std::string ebnf_class(const std::vector<CharRange>& set) {
  std::string out = "[";
  for (const CharRange& range : set) {
    append_escaped(range.first, &out);
    if (range.first == range.last) continue;
    out.push_back('-');
    append_escaped(range.last, &out);
  }
  out.push_back(']');
  return out;
}

}  // namespace mimo::grammar
