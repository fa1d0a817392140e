#include "grammar/schema_rules.h"

namespace mimo::grammar {
namespace {

// Characters that stand for themselves in a JSON string.
constexpr char kPlain[] = R"([ !#-\[\]-\U0000D7FF\U0000E000-\U0010FFFF])";

std::string counted(const std::string& text, int64_t min, int64_t max) {
  std::string out = text + "{" + std::to_string(min) + ",";
  if (max != Regex::kUnbounded) out += std::to_string(max);
  return out + "}";
}

}  // namespace

std::string json_rules() {
  // One blank, or a new line and its indentation; numbers that fit 64 bits and a double; \u for
  // anything that is a character, pairs of surrogates together.
  return std::string(R"(
json-blank ::= (" " | "\n" [ \t]{0,32})?
json-any ::= json-object | json-array | json-string | json-number | json-boolean | "null"
json-object ::= "{" json-blank (json-member ("," json-blank json-member)* json-blank)? "}"
json-member ::= json-string ":" json-blank json-any
json-array ::= "[" json-blank (json-any ("," json-blank json-any)* json-blank)? "]"
json-string ::= "\"" ()") +
         kPlain + R"( | "\\" (["\\/bfnrt] | "u" json-unit))* "\""
json-unit ::= [0-9a-cA-CeEfF] json-hex json-hex json-hex | [dD] [0-7] json-hex json-hex | [dD] [89abAB] json-hex json-hex "\\u" [dD] [c-fC-F] json-hex json-hex
json-hex ::= [0-9a-fA-F]
json-integer ::= "-"? ("0" | [1-9] [0-9]{0,17})
json-number ::= "-"? ("0" | [1-9] [0-9]{0,17}) ("." [0-9]{1,17})? ([eE] [-+]? [0-9]{1,2})?
json-boolean ::= "true" | "false"
)";
}

Texts any_of_texts(const std::vector<Texts>& texts) {
  std::string out;
  int32_t count = 0;
  for (const Texts& text : texts) {
    if (!text) continue;
    if (count++ > 0) out += " | ";
    out += *text;
  }
  if (count == 0) return std::nullopt;
  return count == 1 ? out : "(" + out + ")";
}

std::string string_of_length(int64_t min, int64_t max) {
  if (max == 0) return R"("\"\"")";
  return R"("\"" )" + counted(kPlain, min, max) + R"( "\"")";
}

std::string string_of(const Regex& regex) {
  return R"("\"" )" + to_ebnf(json_spelling(regex)) + R"( "\"")";
}

std::string array_of(const std::vector<std::string>& first, const Texts& more, int64_t min,
                     int64_t max) {
  const std::string blank = std::string(" ") + rule::kBlank + " ";
  const std::string comma = " \",\"" + blank;
  std::string out = "\"[\"" + blank;
  for (size_t i = 0; i < first.size(); ++i) out += (i > 0 ? comma : "") + first[i];
  if (!more || max == 0) return out + (first.empty() ? "" : blank) + " \"]\"";
  if (!first.empty())
    return out + " " + counted("(" + comma + *more + ")", min, max) + blank + "\"]\"";
  const int64_t rest = max == Regex::kUnbounded ? max : max - 1;
  const std::string some =
      *more + " " + counted("(" + comma + *more + ")", min > 0 ? min - 1 : 0, rest) + blank;
  return out + (min > 0 ? some : "(" + some + ")?") + " \"]\"";
}

}  // namespace mimo::grammar
