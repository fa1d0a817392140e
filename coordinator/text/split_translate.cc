#define PCRE2_CODE_UNIT_WIDTH 8

#include <pcre2.h>
#include <unicode/uniset.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdio>
#include <string>
#include <string_view>

#include "base/check.h"
#include "coordinator/text/split_pattern.h"

namespace mimo::text {
namespace {

constexpr std::array<std::string_view, 7> kGroupOpeners = {"(?:",  "(?=",  "(?!", "(?>",
                                                           "(?<=", "(?<!", "(?i:"};

// General categories: the same sets in both engines, but for characters newer than the engine.
constexpr std::array<std::string_view, 32> kCategories = {
    "L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M", "Mn", "Mc", "Me", "N",  "Nd", "Nl", "No", "P",  "Pc",
    "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "S", "Sm", "Sc", "Sk", "So", "Z",  "Zs", "Zl", "Zp", "Cc"};

template <size_t N>
bool contains(const std::array<std::string_view, N>& set, std::string_view name) {
  return std::find(set.begin(), set.end(), name) != set.end();
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// The ranges of a class that are in `category` and newer than PCRE2's tables: ICU's reach further.
std::string newer_members(std::string_view category) {
  char version[32] = {};
  CHECK(pcre2_config(PCRE2_CONFIG_UNICODE_VERSION, nullptr) <= static_cast<int>(sizeof(version)));
  pcre2_config(PCRE2_CONFIG_UNICODE_VERSION, version);
  const std::string age = std::string(version).substr(0, std::string(version).rfind('.'));
  const std::string set = "[\\p{" + std::string(category) + "}-\\p{Age=" + age + "}]";
  UErrorCode status = U_ZERO_ERROR;
  const icu::UnicodeSet members(icu::UnicodeString::fromUTF8(set), status);
  CHECK(U_SUCCESS(status));
  std::string ranges;
  for (int32_t i = 0; i < members.getRangeCount(); ++i) {
    char range[32];
    std::snprintf(range, sizeof(range), "\\x{%x}-\\x{%x}",
                  static_cast<unsigned>(members.getRangeStart(i)),
                  static_cast<unsigned>(members.getRangeEnd(i)));
    ranges += range;
  }
  return ranges;
}

// Walks a pattern once, from left to right.
class Translator {
 public:
  explicit Translator(std::string_view regex) : regex_(regex) {}

  Result<std::string> run() {
    while (at_ < regex_.size()) TRY(in_class_ ? step_in_class() : step());
    if (in_class_) return refuse("a class without its ]");
    return std::move(out_);
  }

 private:
  Error refuse(const std::string& what) const {
    return invalid_argument("the pattern has " + what + " at byte " + std::to_string(at_) +
                            ", which Oniguruma and PCRE2 are not known to read alike");
  }
  std::string_view rest() const { return regex_.substr(at_); }
  void copy(size_t count) {
    out_.append(regex_.substr(at_, count));
    at_ += count;
  }

  Result<void> step() {
    switch (regex_[at_]) {
      case '\\':
        return escape();
      case '[':
        return open_class();
      case '(':
        return open_group();
      case '{':
        return counted_repeat();
      case '.':
      case '^':
      case '$':
        return refuse(std::string("an unescaped ") + regex_[at_]);
      default:
        copy(1);
        return {};
    }
  }

  Result<void> open_class() {
    copy(1);
    in_class_ = true;
    if (rest().starts_with('^')) copy(1);
    if (rest().starts_with(']')) return refuse("a ] first in a class");
    return {};
  }

  Result<void> step_in_class() {
    if (rest().starts_with('\\')) return escape();
    if (rest().starts_with('[')) return refuse("a [ inside a class");
    if (rest().starts_with("&&")) return refuse("a && inside a class");
    if (rest().starts_with(']')) in_class_ = false;
    copy(1);
    return {};
  }

  Result<void> open_group() {
    if (rest().starts_with("(*")) return refuse("a (*");
    if (!rest().starts_with("(?")) {
      copy(1);
      return {};
    }
    for (const std::string_view opener : kGroupOpeners) {
      if (!rest().starts_with(opener)) continue;
      copy(opener.size());
      return {};
    }
    return refuse("a group that opens with " + std::string(rest().substr(0, 4)));
  }

  // {n}, {n,} or {n,m}, and no + behind it: that means "possessive" to one engine and "repeat what
  // is repeated" to the other.
  Result<void> counted_repeat() {
    size_t end = at_ + 1;
    const size_t first = end;
    while (end < regex_.size() && is_digit(regex_[end])) ++end;
    const bool has_min = end > first;
    if (end < regex_.size() && regex_[end] == ',') ++end;
    while (end < regex_.size() && is_digit(regex_[end])) ++end;
    const bool closed = end < regex_.size() && regex_[end] == '}';
    if (!has_min || !closed) return refuse("a { that is no {n}, {n,} or {n,m}");
    ++end;
    if (end < regex_.size() && regex_[end] == '+') return refuse("a + after {n,m}");
    copy(end - at_);
    return {};
  }

  Result<void> escape() {
    if (at_ + 1 >= regex_.size()) return refuse("a \\ with nothing after it");
    const char c = regex_[at_ + 1];
    if (c == 'p' || c == 'P') return category();
    // \s is the property White_Space to Oniguruma; PCRE2's own \s has U+180E besides.
    if (c == 's' || c == 'S') {
      out_ += c == 's' ? "\\p{White_Space}" : "\\P{White_Space}";
      at_ += 2;
      return {};
    }
    const bool plain = c == 'r' || c == 'n' || c == 't' || c == 'f';
    if (!plain && std::ispunct(static_cast<unsigned char>(c)) == 0)
      return refuse(std::string("the escape \\") + c);
    copy(2);
    return {};
  }

  Result<void> category() {
    const size_t close = regex_.find('}', at_);
    if (!regex_.substr(at_ + 2).starts_with('{') || close == std::string_view::npos)
      return refuse("a \\p without {category}");
    const std::string_view name = regex_.substr(at_ + 3, close - at_ - 3);
    if (!contains(kCategories, name)) return refuse("the property " + std::string(name));
    const bool negated = regex_[at_ + 1] == 'P';
    // A class cannot take members away from \P{category}.
    if (in_class_ && negated) return refuse("a \\P inside a class");
    if (!in_class_) out_ += negated ? "[^" : "[";
    out_ += "\\p{" + std::string(name) + "}" + newer_members(name);
    if (!in_class_) out_ += "]";
    at_ = close + 1;
    return {};
  }

  std::string_view regex_;
  size_t at_ = 0;
  bool in_class_ = false;
  std::string out_;
};

}  // namespace

Result<std::string> translate_split_regex(std::string_view regex) {
  return Translator(regex).run();
}

}  // namespace mimo::text
