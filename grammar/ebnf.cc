#include "grammar/ebnf.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "grammar/utf8.h"

namespace mimo::grammar {
namespace {

constexpr int64_t kCopiesMax = 100;
// To make a state ready is to look at each token that may begin there: for any character of a
// 151,669-token vocabulary about 30 ms. This many such states are about 1 s.
constexpr double kDearStatesMax = 32;
// Of a bounded run of characters; a longer one is counted by the engine, whose steps then take
// up to 45 ms where the bound is near.
constexpr double kDearCharactersMax = 12;

const char kHex[] = "0123456789ABCDEF";

bool is_plain(char32_t c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

void append_escaped(char32_t c, std::string* out) {
  const bool plain = is_plain(c) || c == ' ' || c == '_' || c == ',' || c == ':' || c == '<' ||
                     c == '>' || c == '=';
  if (plain) {
    out->push_back(static_cast<char>(c));
    return;
  }
  out->append("\\U");
  for (int32_t shift = 28; shift >= 0; shift -= 4) out->push_back(kHex[c >> shift & 15]);
}

// How much of a vocabulary may go on here, about: 1 for any character.
double dearness(const std::vector<CharRange>& set) {
  double letters = 0;
  for (const CharRange& range : set) {
    if (range.last >= 0x80) return 1;
    letters += range.last - range.first + 1;
  }
  return letters / 100;
}

// Of the automaton with its repetitions written out.
double dear_states(const Regex& regex) {
  if (regex.kind == Regex::Kind::kSet) return dearness(regex.set);
  double sum = 0;
  for (const Regex& part : regex.parts) sum += dear_states(part);
  if (regex.kind == Regex::Kind::kRepeat) sum *= std::max({regex.min, regex.max, 1});
  return sum;
}

bool has_long_repeat(const Regex& regex) {
  if (regex.kind == Regex::Kind::kRepeat && std::max(regex.min, regex.max) > kCopiesMax)
    return true;
  return std::any_of(regex.parts.begin(), regex.parts.end(), has_long_repeat);
}

bool is_one_character(const Regex& regex) {
  return regex.kind == Regex::Kind::kSet && regex.set.size() == 1 &&
         regex.set[0].first == regex.set[0].last;
}

// --- In the engine's own syntax of regular expressions, inside an EBNF literal -------------------

void append_regex_character(char32_t c, std::string* out) {
  if (is_plain(c)) {
    out->push_back(static_cast<char>(c));
    return;
  }
  out->append("\\\\u{");
  for (int32_t shift = 20; shift >= 0; shift -= 4) out->push_back(kHex[c >> shift & 15]);
  out->push_back('}');
}

void append_count(const Regex& regex, std::string* out) {
  if (regex.min == 0 && regex.max == Regex::kUnbounded) {
    out->push_back('*');
  } else if (regex.min == 1 && regex.max == Regex::kUnbounded) {
    out->push_back('+');
  } else {
    out->append("{" + std::to_string(regex.min) + ",");
    if (regex.max != Regex::kUnbounded) out->append(std::to_string(regex.max));
    out->push_back('}');
  }
}

void append_regex(const Regex& regex, std::string* out) {
  if (is_one_character(regex)) return append_regex_character(regex.set[0].first, out);
  if (regex.kind == Regex::Kind::kSet) {
    out->push_back('[');
    for (const CharRange& range : regex.set) {
      append_regex_character(range.first, out);
      if (range.first == range.last) continue;
      out->push_back('-');
      append_regex_character(range.last, out);
    }
    out->push_back(']');
    return;
  }
  if (regex.kind == Regex::Kind::kRepeat) {
    out->append("(?:");
    append_regex(regex.parts[0], out);
    out->push_back(')');
    return append_count(regex, out);
  }
  const bool choice = regex.kind == Regex::Kind::kChoice;
  if (choice) out->append("(?:");
  for (size_t i = 0; i < regex.parts.size(); ++i) {
    if (choice && i > 0) out->push_back('|');
    append_regex(regex.parts[i], out);
  }
  if (choice) out->push_back(')');
}

// --- As groups -----------------------------------------------------------------------------------

std::string groups(const Regex& regex, EbnfRules* rules);

std::string sequence_of_groups(const Regex& regex, EbnfRules* rules) {
  if (regex.parts.empty()) return "\"\"";
  std::string out;
  for (size_t i = 0; i < regex.parts.size(); ++i) {
    if (i > 0) out.push_back(' ');
    if (!is_one_character(regex.parts[i])) {
      out += groups(regex.parts[i], rules);
      continue;
    }
    out.push_back('"');
    for (; i < regex.parts.size() && is_one_character(regex.parts[i]); ++i)
      append_escaped(regex.parts[i].set[0].first, &out);
    --i;
    out.push_back('"');
  }
  return out;
}

std::string groups(const Regex& regex, EbnfRules* rules) {
  switch (regex.kind) {
    case Regex::Kind::kSet:
      return ebnf_class(regex.set);
    case Regex::Kind::kSequence:
      return sequence_of_groups(regex, rules);
    case Regex::Kind::kRepeat: {
      const Regex& part = regex.parts[0];
      if (part.kind == Regex::Kind::kSet) return characters(part.set, regex.min, regex.max, rules);
      return repeated(to_ebnf(part, rules), regex.min, regex.max, rules);
    }
    case Regex::Kind::kChoice:
      break;
  }
  std::string out = "(";
  for (size_t i = 0; i < regex.parts.size(); ++i)
    out += (i > 0 ? " | " : "") + to_ebnf(regex.parts[i], rules);
  return out + ")";
}

std::string counted(const std::string& part, int64_t min, int64_t max) {
  if (max == 0) return "\"\"";
  std::string count = std::to_string(min) + ",";
  if (max != Regex::kUnbounded) count += std::to_string(max);
  return "(" + part + "){" + count + "}";
}

}  // namespace

std::string EbnfRules::add(const std::string& body) {
  const std::string name = prefix_ + std::to_string(num_rules_++);
  add_named(name, body);
  return name;
}

std::string EbnfRules::add_bounded(const std::string& body, int64_t characters_max) {
  const std::string name = prefix_ + std::to_string(num_rules_++);
  least_bound_ = std::min(least_bound_, characters_max);
  text_ += name + "[max_chars=" + std::to_string(characters_max) + "] ::= " + body + "\n";
  return name;
}

void EbnfRules::add_named(const std::string& name, const std::string& body) {
  text_ += name + " ::= " + body + "\n";
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

std::string to_ebnf(const Regex& regex, EbnfRules* rules) {
  const bool simple = regex.kind == Regex::Kind::kSet ||
                      std::all_of(regex.parts.begin(), regex.parts.end(), is_one_character);
  if ((simple && regex.kind <= Regex::Kind::kSequence) || has_long_repeat(regex) ||
      dear_states(regex) > kDearStatesMax)
    return groups(regex, rules);
  std::string out = "Regex(\"";
  append_regex(regex, &out);
  return out + "\")";
}

std::string repeated(const std::string& part, int64_t min, int64_t max, EbnfRules* rules) {
  if (std::max(min, max) <= kCopiesMax) return counted(part, min, max);
  const std::string one = rules->add(part);
  const std::string block = rules->add(counted(one, kCopiesMax, kCopiesMax));
  std::string out;
  for (int64_t i = 0; i < min / kCopiesMax; ++i) out += block + " ";
  out += counted(one, min % kCopiesMax, min % kCopiesMax);
  if (max == Regex::kUnbounded) return out + " " + one + "*";
  const int64_t more = max - min;
  std::string tail = rules->add(counted(one, 0, more % kCopiesMax));
  for (int64_t i = 0; i < more / kCopiesMax; ++i)
    tail = rules->add(block + " " + tail + " | " + counted(one, 0, kCopiesMax - 1));
  return out + " " + tail;
}

std::string characters(const std::vector<CharRange>& set, int64_t min, int64_t max,
                       EbnfRules* rules) {
  const std::string one = ebnf_class(set);
  const bool few = dearness(set) * static_cast<double>(std::max(min, max)) <= kDearCharactersMax;
  if (max != Regex::kUnbounded && max <= kCopiesMax && (few || min == max))
    return counted(one, min, max);
  // The last characters before the star stand one by one: of a counted repetition with a star
  // behind it the engine's masks allow what it then refuses.
  const int64_t apart = std::min<int64_t>(min, kCopiesMax);
  std::string all = min > apart ? repeated(one, min - apart, min - apart, rules) + " " : "";
  for (int64_t i = 0; i < apart; ++i) all += one + " ";
  all += one + "*";
  return max == Regex::kUnbounded ? all : rules->add_bounded(all, max);
}

}  // namespace mimo::grammar
