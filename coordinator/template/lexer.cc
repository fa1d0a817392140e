#include "coordinator/template/lexer.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "coordinator/template/unicode.h"
#include "coordinator/text/utf8.h"

namespace mimo::chat {
namespace {

// Line ends as \n, and not the last one.
std::string with_plain_lines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out.push_back('\n');
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      out.push_back(source[i]);
    }
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

bool is_ascii_digit(char c) { return c >= '0' && c <= '9'; }

class Lexer final {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)) {}

  Result<std::vector<Token>> run() {
    while (at_ < source_.size()) TRY(data());
    Token end;
    end.line = line_;
    tokens_.push_back(std::move(end));
    return std::move(tokens_);
  }

 private:
  std::string_view rest() const { return std::string_view(source_).substr(at_); }
  bool sees(std::string_view what) const { return rest().starts_with(what); }

  // Moves on, counting lines.
  void pass(size_t bytes) {
    line_ += static_cast<int32_t>(std::count(source_.begin() + static_cast<ptrdiff_t>(at_),
                                             source_.begin() + static_cast<ptrdiff_t>(at_ + bytes),
                                             '\n'));
    at_ += bytes;
    line_starting_ = at_ > 0 && source_[at_ - 1] == '\n';
  }
  // White space from `from` on, in bytes.
  size_t spaces(size_t from) const {
    const std::string_view tail = std::string_view(source_).substr(from);
    return tail.size() - strip(tail, nullptr, true, false).size();
  }

  void push(TokenKind kind, std::string text) {
    Token token;
    token.kind = kind;
    token.line = line_;
    token.text = std::move(text);
    tokens_.push_back(std::move(token));
  }

  // Text before a tag, without what the tag's sign or lstrip_blocks takes away.
  void push_data(std::string_view text, char sign, bool strips_line) {
    if (sign == '-') {
      text = strip(text, nullptr, false, true);
    } else if (sign != '+' && strips_line) {
      const size_t newline = text.rfind('\n');
      const size_t line = newline == std::string_view::npos ? 0 : newline + 1;
      if ((line > 0 || line_starting_) && strip(text.substr(line), nullptr, true, false).empty())
        text = text.substr(0, line);
    }
    if (!text.empty()) push(TokenKind::kData, std::string(text));
  }

  char sign_at(size_t at) const {
    return at < source_.size() && (source_[at] == '-' || source_[at] == '+') ? source_[at] : '\0';
  }

  // Up to the next tag, and the tag.
  Result<void> data() {
    size_t tag = at_;
    while (true) {
      tag = source_.find('{', tag);
      if (tag == std::string::npos) {
        push(TokenKind::kData, source_.substr(at_));
        pass(source_.size() - at_);
        return {};
      }
      if (tag + 1 < source_.size() &&
          std::string_view("{%#").find(source_[tag + 1]) != std::string_view::npos)
        break;
      ++tag;
    }
    const char kind = source_[tag + 1];
    const char sign = sign_at(tag + 2);
    push_data(std::string_view(source_).substr(at_, tag - at_), sign, kind != '{');
    pass(tag - at_);
    if (const size_t length = kind == '%' ? raw_begin() : 0; length > 0) {
      pass(length);
      return raw();
    }
    const size_t begin = sign == '\0' ? 2 : 3;
    if (kind == '#') {
      pass(begin);
      return comment();
    }
    push(kind == '%' ? TokenKind::kBlockBegin : TokenKind::kPrintBegin, "");
    pass(begin);
    return code(kind == '%');
  }

  // Length of a "{% raw %}" that is here; 0: none is.
  size_t raw_begin() const {
    size_t at = at_ + (sign_at(at_ + 2) == '\0' ? 2 : 3);
    at += spaces(at);
    if (source_.compare(at, 3, "raw") != 0) return 0;
    at += 3;
    at += spaces(at);
    if (source_.compare(at, 2, "%}") == 0) return at + 2 - at_;
    if (source_.compare(at, 3, "-%}") != 0) return 0;
    return at + 3 + spaces(at + 3) - at_;
  }

  // Length of "%}", "-%}" and the white space that goes with it, or "+%}", at `at`; 0: not there.
  size_t end_of_tag(size_t at, std::string_view mark) const {
    if (source_.compare(at, 2, mark) == 0)
      return at + 2 < source_.size() && source_[at + 2] == '\n' ? 3 : 2;
    if (at >= source_.size() || source_.compare(at + 1, 2, mark) != 0) return 0;
    if (source_[at] == '+') return 3;
    return source_[at] == '-' ? 3 + spaces(at + 3) : 0;
  }

  Result<void> comment() {
    for (size_t at = at_; at < source_.size(); ++at) {
      if (const size_t length = end_of_tag(at, "#}"); length > 0) {
        pass(at + length - at_);
        return {};
      }
    }
    return at_line(line_, "a comment lacks its '#}'");
  }

  Result<void> raw() {
    for (size_t at = source_.find("{%", at_); at != std::string::npos;
         at = source_.find("{%", at + 1)) {
      const char sign = sign_at(at + 2);
      size_t end = at + (sign == '\0' ? 2 : 3);
      end += spaces(end);
      if (source_.compare(end, 6, "endraw") != 0) continue;
      end += 6;
      end += spaces(end);
      const size_t length = end_of_tag(end, "%}");
      if (length == 0) continue;
      push_data(std::string_view(source_).substr(at_, at - at_), sign, true);
      pass(end + length - at_);
      return {};
    }
    return at_line(line_, "a raw section lacks its '{% endraw %}'");
  }

  Result<void> code(bool block) {
    std::string open;  // the closing signs that are still to come
    while (at_ < source_.size()) {
      if (open.empty()) {
        size_t end = 0;
        if (block) {
          end = end_of_tag(at_, "%}");
        } else if (sees("}}")) {
          end = 2;
        } else if (sees("-}}")) {
          end = 3 + spaces(at_ + 3);
        }
        if (end > 0) {
          push(block ? TokenKind::kBlockEnd : TokenKind::kPrintEnd, "");
          pass(end);
          return {};
        }
      }
      if (const size_t blank = spaces(at_); blank > 0) {
        pass(blank);
      } else {
        TRY(token(&open));
      }
    }
    return {};  // the parser finds the end missing
  }

  Result<void> token(std::string* open) {
    const char c = source_[at_];
    if (is_ascii_digit(c)) return number();
    if (c == '\'' || c == '"') return string();
    const size_t end = end_of_name();
    if (end == at_) return sign(open);
    size_t next = at_;
    if (!is_identifier_start(text::next_code_point(source_, &next)))
      return at_line(line_, "a name cannot start " + rest_of_line());
    push(TokenKind::kName, source_.substr(at_, end - at_));
    pass(end - at_);
    return {};
  }

  size_t end_of_name() const {
    size_t end = at_;
    for (size_t next = end; next < source_.size(); end = next) {
      if (!is_identifier_part(text::next_code_point(source_, &next))) break;
    }
    return end;
  }

  Result<void> sign(std::string* open) {
    constexpr std::array<std::string_view, 26> kSigns{
        "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
        "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};
    const auto found = std::find_if(kSigns.begin(), kSigns.end(),
                                    [this](std::string_view sign) { return sees(sign); });
    if (found == kSigns.end()) return at_line(line_, "unexpected character " + rest_of_line());
    const char c = found->front();
    if (c == '(') open->push_back(')');
    if (c == '[') open->push_back(']');
    if (c == '{') open->push_back('}');
    if (c == ')' || c == ']' || c == '}') {
      if (open->empty() || open->back() != c)
        return at_line(line_,
                       std::string("unexpected '") + c + "'" +
                           (open->empty() ? "" : std::string(", expected '") + open->back() + "'"));
      open->pop_back();
    }
    push(TokenKind::kOperator, std::string(*found));
    pass(found->size());
    return {};
  }

  std::string rest_of_line() const {
    const std::string_view line = rest().substr(0, rest().find('\n'));
    return "at '" + std::string(line.substr(0, byte_of(line, 20))) + "'";
  }

  Result<void> string() {
    const char quote = source_[at_];
    size_t end = at_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) return at_line(line_, "a string lacks its end " + rest_of_line());
    auto text = unescape(std::string_view(source_).substr(at_ + 1, end - at_ - 1));
    if (!text.ok()) return at_line(line_, text.error().message);
    push(TokenKind::kString, std::move(text).value());
    pass(end + 1 - at_);
    return {};
  }

  // Digits, single underscores between them, from `at` on; where they end.
  template <typename IsDigit>
  size_t digits(size_t at, IsDigit is_digit, bool underscore_first) const {
    size_t end = at;
    while (end < source_.size()) {
      const bool underscore = source_[end] == '_' && (end > at || underscore_first) &&
                              end + 1 < source_.size() && is_digit(source_[end + 1]);
      if (!underscore && !is_digit(source_[end])) break;
      end += underscore ? 2 : 1;
    }
    return end;
  }

  Result<void> number() {
    const size_t whole = digits(at_, is_ascii_digit, false);
    size_t end = whole;
    const bool behind_dot = at_ > 0 && source_[at_ - 1] == '.';
    if (!behind_dot) {
      if (end < source_.size() && source_[end] == '.') {
        const size_t fraction = digits(end + 1, is_ascii_digit, false);
        if (fraction > end + 1) end = fraction;
      }
      if (end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
        const size_t start = end + 1 + (sign_at(end + 1) == '\0' ? 0 : 1);
        const size_t exponent = digits(start, is_ascii_digit, false);
        if (exponent > start) end = exponent;
      }
      if (end > whole) return real(end);
    }
    return integer();
  }

  std::string without_underscores(size_t end) const {
    std::string text = source_.substr(at_, end - at_);
    text.erase(std::remove(text.begin(), text.end(), '_'), text.end());
    return text;
  }

  Result<void> real(size_t end) {
    const std::string text = without_underscores(end);
    double value = 0;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), value);
    if (read.ec != std::errc() && text.find("e-") == std::string::npos &&
        text.find("E-") == std::string::npos)
      return at_line(line_, "the number " + text + " is too large");
    push(TokenKind::kFloat, text);
    tokens_.back().real = value;
    pass(end - at_);
    return {};
  }

  Result<void> integer() {
    int base = 10;
    size_t end = at_;
    if (source_[at_] == '0' && at_ + 1 < source_.size()) {
      const char letter = static_cast<char>(source_[at_ + 1] | 0x20);
      const int wanted = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 0;
      const auto is_digit = [wanted](char c) {
        const char low = static_cast<char>(c | 0x20);
        if (wanted == 16 && low >= 'a' && low <= 'f') return true;
        return c >= '0' && c < '0' + std::min(wanted, 10);
      };
      if (wanted != 0) end = digits(at_ + 2, is_digit, true);
      if (end > at_ + 2) base = wanted;
    }
    if (base == 10) {
      // A leading zero is followed by zeros only.
      const bool zero = source_[at_] == '0';
      end = zero ? digits(
                       at_, [](char c) { return c == '0'; }, false)
                 : digits(at_, is_ascii_digit, false);
    }
    const std::string text = without_underscores(end);
    int64_t value = 0;
    const auto read =
        std::from_chars(text.data() + (base == 10 ? 0 : 2), text.data() + text.size(), value, base);
    if (read.ec != std::errc())
      return at_line(line_, "the number " + text + " is larger than 64 bits");
    push(TokenKind::kInteger, text);
    tokens_.back().integer = value;
    pass(end - at_);
    return {};
  }

  const std::string source_;
  size_t at_ = 0;
  int32_t line_ = 1;
  bool line_starting_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

std::string Token::described() const {
  switch (kind) {
    case TokenKind::kData:
      return "text";
    case TokenKind::kBlockBegin:
      return "'{%'";
    case TokenKind::kBlockEnd:
      return "'%}'";
    case TokenKind::kPrintBegin:
      return "'{{'";
    case TokenKind::kPrintEnd:
      return "'}}'";
    case TokenKind::kString:
      return "a string";
    case TokenKind::kEnd:
      return "the end of the template";
    default:
      return "'" + text + "'";
  }
}

Error at_line(int32_t line, const std::string& message) {
  return invalid_argument("template line " + std::to_string(line) + ": " + message);
}

Result<std::vector<Token>> tokenize(std::string_view source) {
  return Lexer(with_plain_lines(source)).run();
}

}  // namespace mimo::chat
