#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace mimo::chat {

enum class TokenKind : uint8_t {
  kData,
  kBlockBegin,
  kBlockEnd,
  kPrintBegin,
  kPrintEnd,
  kName,
  kString,
  kInteger,
  kFloat,
  kOperator,
  kEnd,
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  int32_t line = 1;
  // Data and strings as they are meant, all else as it is written; an operator's sign.
  std::string text;
  int64_t integer = 0;
  double real = 0;

  bool is(std::string_view sign) const { return kind == TokenKind::kOperator && text == sign; }
  bool is_name(std::string_view name) const { return kind == TokenKind::kName && text == name; }
  // For messages: "'endfor'", "end of statement block".
  std::string described() const;
};

// A template's source, cut as Jinja cuts it with trim_blocks and lstrip_blocks: white space around
// tags is gone, comments are, raw sections are data. The last token is kEnd. `source` must be
// well-formed UTF-8.
Result<std::vector<Token>> tokenize(std::string_view source);

// A string literal's content with its escapes read as Python reads them.
Result<std::string> unescape(std::string_view literal);

// "template line 7: message".
Error at_line(int32_t line, const std::string& message);

}  // namespace mimo::chat
