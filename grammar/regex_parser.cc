#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include "grammar/regex.h"
#include "grammar/utf8.h"

namespace mimo::grammar {
namespace {

constexpr int32_t kRepeatMax = 1000;

const std::vector<CharRange> kDigits = {{'0', '9'}};
const std::vector<CharRange> kWord = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
// Every dialect's white space, and that of any dialect: \s takes the first, \S leaves the second.
const std::vector<CharRange> kSpace = {{'\t', '\r'}, {' ', ' '}};
const std::vector<CharRange> kWideSpace = {{'\t', '\r'},     {0x1c, ' '},      {0x85, 0x85},
                                           {0xa0, 0xa0},     {0x1680, 0x1680}, {0x2000, 0x200a},
                                           {0x2028, 0x2029}, {0x202f, 0x202f}, {0x205f, 0x205f},
                                           {0x3000, 0x3000}, {0xfeff, 0xfeff}};
const std::vector<CharRange> kLineEnds = {{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};

// One alternative at the top: what it matches, and whether it is bound to the text's ends.
struct Alternative {
  Regex regex;
  bool from_start = false;
  bool to_end = false;
};

class Parser {
 public:
  Parser(std::u32string pattern, const RegexLimits& limits)
      : text_(std::move(pattern)), limits_(limits) {}

  Result<Regex> parse(bool whole);

 private:
  bool at_end() const { return at_ == text_.size(); }
  char32_t peek(size_t ahead = 0) const {
    return at_ + ahead < text_.size() ? text_[at_ + ahead] : 0;
  }
  bool take(char32_t c) {
    if (at_end() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  Error wrong(const std::string& what) const {
    return invalid_argument("at character " + std::to_string(at_) + ": " + what);
  }

  Result<Alternative> alternative();
  Result<Regex> choice();
  Result<Regex> sequence();
  Result<Regex> atom();
  Result<Regex> group();
  Result<std::vector<CharRange>> escape(bool in_class);
  Result<char32_t> hex(int32_t digits);
  Result<std::vector<CharRange>> bracket();
  Result<Regex> quantified(Regex part);
  Result<std::optional<std::pair<int32_t, int32_t>>> braces();
  std::optional<int64_t> number();

  std::u32string text_;
  const RegexLimits& limits_;
  size_t at_ = 0;
  int32_t depth_ = 0;
};

Result<Regex> Parser::parse(bool whole) {
  std::vector<Regex> all;
  do {
    TRY_ASSIGN(Alternative one, alternative());
    std::vector<Regex> parts;
    const auto anything = [] { return repeat_regex(any_of(complement_set({})), 0, -1); };
    if (!whole && !one.from_start) parts.push_back(anything());
    parts.push_back(std::move(one.regex));
    if (!whole && !one.to_end) parts.push_back(anything());
    all.push_back(sequence_regex(std::move(parts)));
  } while (take('|'));
  if (!at_end()) return wrong("a ) without its (");
  return choice_regex(std::move(all));
}

Result<Alternative> Parser::alternative() {
  Alternative one;
  one.from_start = take('^');
  TRY_ASSIGN(one.regex, sequence());
  one.to_end = take('$');
  return one;
}

Result<Regex> Parser::choice() {
  std::vector<Regex> all;
  do {
    TRY_ASSIGN(Regex one, sequence());
    all.push_back(std::move(one));
  } while (take('|'));
  return choice_regex(std::move(all));
}

Result<Regex> Parser::sequence() {
  std::vector<Regex> parts;
  while (!at_end() && peek() != '|' && peek() != ')') {
    if (peek() == '$' && depth_ == 0 && (at_ + 1 == text_.size() || peek(1) == '|')) break;
    TRY_ASSIGN(Regex part, atom());
    TRY_ASSIGN(Regex whole, quantified(std::move(part)));
    parts.push_back(std::move(whole));
  }
  return sequence_regex(std::move(parts));
}

Result<Regex> Parser::atom() {
  const char32_t c = peek();
  if (c == '(') return group();
  if (c == '[') {
    TRY_ASSIGN(std::vector<CharRange> set, bracket());
    return any_of(std::move(set));
  }
  if (c == '\\') {
    TRY_ASSIGN(std::vector<CharRange> set, escape(false));
    return any_of(std::move(set));
  }
  if (c == '^' || c == '$')
    return wrong("an anchor inside the expression: expected ^ first and $ last, outside groups");
  if (c == '*' || c == '+' || c == '?') return wrong("a repetition of nothing");
  ++at_;
  if (c == '.') return any_of(complement_set(kLineEnds));
  return any_of({{c, c}});
}

Result<Regex> Parser::group() {
  ++at_;
  if (take('?')) {
    const bool python_name = peek() == 'P' && peek(1) == '<';
    if (python_name) ++at_;
    if (peek() == '<' && peek(1) != '=' && peek(1) != '!') {
      while (!at_end() && peek() != '>') ++at_;
      if (!take('>')) return wrong("a group's name without its end");
    } else if (!take(':')) {
      return wrong(
          "a group of a kind that is not supported: expected (...), (?:...) or (?<name>...)");
    }
  }
  if (++depth_ > limits_.depth_max)
    return wrong("groups in groups deeper than " + std::to_string(limits_.depth_max));
  TRY_ASSIGN(Regex inner, choice());
  --depth_;
  if (!take(')')) return wrong("a ( without its )");
  return inner;
}

Result<char32_t> Parser::hex(int32_t digits) {
  char32_t value = 0;
  for (int32_t i = 0; i < digits; ++i, ++at_) {
    const char32_t c = peek();
    const bool is_digit = c >= '0' && c <= '9';
    const bool is_letter = (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
    if (!is_digit && !is_letter) return wrong("expected a hexadecimal digit");
    value = value * 16 + (is_digit ? c - '0' : (c | 0x20) - 'a' + 10);
  }
  return value;
}

Result<std::vector<CharRange>> Parser::escape(bool in_class) {
  ++at_;
  if (at_end()) return wrong("a \\ at the end");
  const char32_t c = text_[at_++];
  const auto one = [](char32_t code) { return std::vector<CharRange>{{code, code}}; };
  switch (c) {
    case 'd':
      return kDigits;
    case 'D':
      return complement_set(kDigits);
    case 'w':
      return kWord;
    case 'W':
      return complement_set(kWord);
    case 's':
      return kSpace;
    case 'S':
      return complement_set(kWideSpace);
    case 't':
      return one('\t');
    case 'n':
      return one('\n');
    case 'r':
      return one('\r');
    case 'f':
      return one('\f');
    case 'v':
      return one('\v');
    case 'b':
      if (in_class) return one('\b');
      break;
    case 'x': {
      TRY_ASSIGN(const char32_t code, hex(2));
      return one(code);
    }
    case 'u': {
      if (!take('{')) {
        TRY_ASSIGN(const char32_t code, hex(4));
        return one(code);
      }
      size_t digits = 0;
      while (at_ + digits < text_.size() && peek(digits) != '}') ++digits;
      if (digits == 0 || digits > 6) return wrong("expected 1 to 6 digits in \\u{}");
      TRY_ASSIGN(const char32_t code, hex(static_cast<int32_t>(digits)));
      ++at_;
      return one(code);
    }
    default:
      // Signs stand for themselves; escaped letters and digits have a meaning somewhere.
      if (c < 0x80 && !(c >= '0' && c <= '9') && !((c | 0x20) >= 'a' && (c | 0x20) <= 'z'))
        return one(c);
  }
  --at_;
  return wrong("an escape that is not supported");
}

Result<std::vector<CharRange>> Parser::bracket() {
  ++at_;
  const bool inverted = take('^');
  std::vector<CharRange> set;
  if (peek() == ']') return wrong("an empty [], or a ] that needs a \\");
  const auto item = [&]() -> Result<std::vector<CharRange>> {
    if (peek() == '\\') return escape(true);
    // Other dialects read these as sets in sets.
    if (peek() == '[') return wrong("a [ in a [] needs a \\");
    const char32_t c = text_[at_++];
    return std::vector<CharRange>{{c, c}};
  };
  while (!take(']')) {
    if (at_end()) return wrong("a [ without its ]");
    TRY_ASSIGN(const std::vector<CharRange> low, item());
    const bool one_low = low.size() == 1 && low[0].first == low[0].last;
    if (peek() != '-' || peek(1) == ']' || at_ + 1 >= text_.size()) {
      set.insert(set.end(), low.begin(), low.end());
      continue;
    }
    ++at_;
    TRY_ASSIGN(const std::vector<CharRange> high, item());
    const bool one_high = high.size() == 1 && high[0].first == high[0].last;
    if (!one_low || !one_high || low[0].first > high[0].first)
      return wrong("a range in a [] that does not go up from one character to another");
    set.push_back({low[0].first, high[0].first});
  }
  set = normal_set(std::move(set));
  return inverted ? complement_set(set) : set;
}

std::optional<int64_t> Parser::number() {
  if (peek() < '0' || peek() > '9') return std::nullopt;
  int64_t value = 0;
  for (; peek() >= '0' && peek() <= '9'; ++at_)
    value = std::min<int64_t>(value * 10 + (peek() - '0'), std::numeric_limits<int32_t>::max());
  return value;
}

// {m}, {m,}, {m,n}; nothing where a { stands for itself.
Result<std::optional<std::pair<int32_t, int32_t>>> Parser::braces() {
  using Bounds = std::optional<std::pair<int32_t, int32_t>>;
  const size_t start = at_;
  ++at_;
  const auto low = number();
  auto high = low;
  if (low && take(',')) high = peek() == '}' ? std::optional<int64_t>(Regex::kUnbounded) : number();
  if (!low || !high || !take('}')) {
    at_ = start;
    return wrong("a { that is no {m}, {m,} or {m,n}: as a character it needs a \\");
  }
  if (*low > kRepeatMax || *high > kRepeatMax)
    return wrong("a repetition of more than " + std::to_string(kRepeatMax));
  if (*high != Regex::kUnbounded && *low > *high) return wrong("a repetition that goes down");
  return Bounds({static_cast<int32_t>(*low), static_cast<int32_t>(*high)});
}

Result<Regex> Parser::quantified(Regex part) {
  std::pair<int32_t, int32_t> bounds;
  if (take('*')) {
    bounds = {0, Regex::kUnbounded};
  } else if (take('+')) {
    bounds = {1, Regex::kUnbounded};
  } else if (take('?')) {
    bounds = {0, 1};
  } else if (peek() == '{') {
    TRY_ASSIGN(const auto given, braces());
    bounds = *given;
  } else {
    return part;
  }
  take('?');  // lazy: the texts are the same
  if (peek() == '*' || peek() == '+' || peek() == '?' || peek() == '{')
    return wrong("a repetition of a repetition: expected a group around the first");
  return repeat_regex(std::move(part), bounds.first, bounds.second);
}

bool has_empty_set(const Regex& regex) {
  if (regex.kind == Regex::Kind::kSet) return regex.set.empty();
  return std::any_of(regex.parts.begin(), regex.parts.end(), has_empty_set);
}

// Sets in it, with repetitions written out; saturates.
int64_t written_out(const Regex& regex) {
  constexpr int64_t kMany = int64_t{1} << 40;
  int64_t count = 1;
  for (const Regex& part : regex.parts) count = std::min(kMany, count + written_out(part));
  if (regex.kind == Regex::Kind::kRepeat)
    count = std::min(kMany, count * std::max({regex.min, regex.max, 1}));
  return count;
}

}  // namespace

Result<Regex> parse_regex(std::string_view pattern, bool whole, const RegexLimits& limits) {
  if (static_cast<int64_t>(pattern.size()) > limits.bytes_max)
    return invalid_argument("has " + std::to_string(pattern.size()) + " bytes: expected at most " +
                            std::to_string(limits.bytes_max));
  auto text = from_utf8(pattern);
  if (!text) return invalid_argument("is not UTF-8");
  if (text->find(U'\0') != std::u32string::npos) return invalid_argument("has a NUL character");
  TRY_ASSIGN(Regex regex, Parser(std::move(*text), limits).parse(whole));
  if (has_empty_set(regex)) return invalid_argument("has a [] that no character is in");
  const int64_t size = written_out(regex);
  if (size > limits.characters_max)
    return invalid_argument("has " + std::to_string(size) +
                            " characters with repetitions written out: expected at most " +
                            std::to_string(limits.characters_max));
  return regex;
}

}  // namespace mimo::grammar
