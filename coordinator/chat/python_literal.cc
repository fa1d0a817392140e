#include "coordinator/chat/python_literal.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <utility>

#include "coordinator/chat/json_text.h"
#include "coordinator/chat/markup.h"
#include "coordinator/text/utf8.h"

namespace mimo::chat {
namespace {

// One reading of a text. Each part puts its JSON behind made_, or answers false.
class Reader final {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  std::optional<std::string> run() {
    if (!value(0)) return std::nullopt;
    skip_blanks();
    if (at_ != text_.size()) return std::nullopt;
    return std::move(made_);
  }

 private:
  void skip_blanks() {
    while (at_ < text_.size() && is_blank(text_[at_])) ++at_;
  }
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool take(std::string_view word) {
    skip_blanks();
    if (!text_.substr(at_).starts_with(word)) return false;
    at_ += word.size();
    return true;
  }

  bool value(int32_t depth) {
    if (depth > kJsonDepthMax) return false;
    skip_blanks();
    switch (peek()) {
      case '{':
        return dict(depth);
      case '[':
        return list(depth, "]", /*is_tuple=*/false);
      case '(':
        return list(depth, ")", /*is_tuple=*/true);
      case '\'':
      case '"':
        return string();
      default:
        return word("True", "true") || word("False", "false") || word("None", "null") || number();
    }
  }

  bool word(std::string_view python, std::string_view json) {
    if (!take(python)) return false;
    made_ += json;
    return true;
  }

  bool dict(int32_t depth) {
    ++at_;
    made_ += '{';
    for (bool first = true; !take("}"); first = false) {
      if (!first && !take(",")) return false;
      if (!first && take("}")) break;
      if (!first) made_ += ", ";
      skip_blanks();
      if ((peek() != '\'' && peek() != '"') || !string() || !take(":")) return false;
      made_ += ": ";
      if (!value(depth + 1)) return false;
    }
    made_ += '}';
    return true;
  }

  // (1) is no tuple, but (1,) and () are.
  bool list(int32_t depth, std::string_view end, bool is_tuple) {
    ++at_;
    made_ += '[';
    int32_t count = 0;
    bool comma = true;
    for (; !take(end); ++count) {
      if (!comma) return false;
      if (count > 0) made_ += ", ";
      if (!value(depth + 1)) return false;
      comma = take(",");
    }
    made_ += ']';
    return !is_tuple || count != 1 || comma;
  }

  bool number() {
    const size_t begin = at_;
    while (at_ < text_.size() &&
           std::string_view("+-.0123456789eE").find(text_[at_]) != std::string_view::npos)
      ++at_;
    const std::string_view digits = text_.substr(begin, at_ - begin);
    if (digits.empty() || !nlohmann::json::accept(digits)) return false;
    made_ += digits;
    return true;
  }

  bool string() {
    const char quote = text_[at_++];
    std::string plain;
    while (at_ < text_.size() && text_[at_] != quote) {
      if (text_[at_] == '\n') return false;
      if (text_[at_] != '\\') {
        plain += text_[at_++];
      } else if (!escape(&plain)) {
        return false;
      }
    }
    if (at_ >= text_.size()) return false;
    ++at_;
    made_ += json_string(plain);
    return true;
  }

  bool escape(std::string* plain) {
    ++at_;
    static constexpr std::string_view kLetters = "\\'\"abfnrtv";
    static constexpr std::string_view kMeant = "\\'\"\a\b\f\n\r\t\v";
    const char letter = peek();
    ++at_;
    if (const size_t i = kLetters.find(letter); letter != '\0' && i != std::string_view::npos) {
      *plain += kMeant[i];
      return true;
    }
    if (letter == '\n') return true;  // the line goes on
    const size_t digits = letter == 'x' ? 2 : letter == 'u' ? 4 : letter == 'U' ? 8 : 0;
    uint32_t code = 0;
    const std::string_view hex = text_.substr(std::min(at_, text_.size()), digits);
    const auto [end, error] = std::from_chars(hex.data(), hex.data() + hex.size(), code, 16);
    const bool whole = digits > 0 && hex.size() == digits && end == hex.data() + hex.size();
    if (!whole || error != std::errc() || code >= 0x110000 || (code >= 0xd800 && code <= 0xdfff))
      return false;
    at_ += digits;
    text::append_utf8(code, plain);
    return true;
  }

  std::string_view text_;
  size_t at_ = 0;
  std::string made_;
};

}  // namespace

std::optional<std::string> python_literal_json(std::string_view text) { return Reader(text).run(); }

}  // namespace mimo::chat
