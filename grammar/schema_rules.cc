#include "grammar/schema_rules.h"

namespace mimo::grammar {
namespace {

// Characters that stand for themselves in a JSON string.
const std::vector<CharRange>& plain() {
  static const std::vector<CharRange> set = normal_set({{' ', '!'}, {'#', '['}, {']', 0x10ffff}});
  return set;
}

// Any JSON string: \u for anything that is a character, pairs of surrogates together.
Regex any_string() {
  const auto hex = [] { return any_of({{'0', '9'}, {'A', 'F'}, {'a', 'f'}}); };
  const auto d = [] { return any_of({{'D', 'D'}, {'d', 'd'}}); };
  const Regex basic = sequence_regex(
      {any_of({{'0', '9'}, {'A', 'C'}, {'a', 'c'}, {'E', 'F'}, {'e', 'f'}}), hex(), hex(), hex()});
  const Regex below = sequence_regex({d(), any_of({{'0', '7'}}), hex(), hex()});
  const Regex pair =
      sequence_regex({d(), any_of({{'8', '9'}, {'A', 'B'}, {'a', 'b'}}), hex(), hex(),
                      literal_regex(U"\\u"), d(), any_of({{'C', 'F'}, {'c', 'f'}}), hex(), hex()});
  const Regex unit = sequence_regex({literal_regex(U"u"), choice_regex({basic, below, pair})});
  const Regex sign = any_of({{'"', '"'},
                             {'\\', '\\'},
                             {'/', '/'},
                             {'b', 'b'},
                             {'f', 'f'},
                             {'n', 'n'},
                             {'r', 'r'},
                             {'t', 't'}});
  const Regex escape = sequence_regex({literal_regex(U"\\"), choice_regex({sign, unit})});
  return sequence_regex({literal_regex(U"\""),
                         repeat_regex(choice_regex({any_of(plain()), escape}), 0, -1),
                         literal_regex(U"\"")});
}

Regex whole_number() {
  const Regex natural = choice_regex(
      {literal_regex(U"0"),
       sequence_regex({any_of({{'1', '9'}}), repeat_regex(any_of({{'0', '9'}}), 0, 17)})});
  return sequence_regex({repeat_regex(literal_regex(U"-"), 0, 1), natural});
}

Regex any_number() {
  const auto digits = [](int32_t max) { return repeat_regex(any_of({{'0', '9'}}), 1, max); };
  const Regex fraction = sequence_regex({literal_regex(U"."), digits(17)});
  const Regex exponent =
      sequence_regex({any_of({{'E', 'E'}, {'e', 'e'}}),
                      repeat_regex(any_of({{'+', '+'}, {'-', '-'}}), 0, 1), digits(2)});
  return sequence_regex(
      {whole_number(), repeat_regex(fraction, 0, 1), repeat_regex(exponent, 0, 1)});
}

}  // namespace

void add_json_rules(EbnfRules* rules) {
  const std::string blank = std::string(" ") + rule::kBlank + " ";
  // One blank, or a new line and its indentation.
  rules->add_named(rule::kBlank, R"((" " | "\n" [ \t]{0,32})?)");
  rules->add_named(
      rule::kAny, "json-object | json-array | json-string | json-number | json-boolean | \"null\"");
  rules->add_named(rule::kObject, "\"{\"" + blank + "(json-member (\",\"" + blank +
                                      "json-member)*" + blank + ")? \"}\"");
  rules->add_named("json-member", "json-string \":\"" + blank + "json-any");
  rules->add_named(rule::kArray, "\"[\"" + blank + "(json-any (\",\"" + blank + "json-any)*" +
                                     blank + ")? \"]\"");
  rules->add_named(rule::kString, to_ebnf(any_string(), rules));
  rules->add_named(rule::kNumber, to_ebnf(any_number(), rules));
  rules->add_named(rule::kInteger, to_ebnf(whole_number(), rules));
  rules->add_named(rule::kBoolean, "\"true\" | \"false\"");
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

std::string string_of_length(int64_t min, int64_t max, EbnfRules* rules) {
  return R"("\"" )" + characters(plain(), min, max, rules) + R"( "\"")";
}

std::string string_of(const Regex& regex, EbnfRules* rules) {
  const Regex quote = literal_regex(U"\"");
  return to_ebnf(sequence_regex({quote, json_spelling(regex), quote}), rules);
}

std::string array_of(const std::vector<std::string>& first, const Texts& more, int64_t min,
                     int64_t max, EbnfRules* rules) {
  const std::string blank = std::string(" ") + rule::kBlank + " ";
  const std::string comma = "\",\"" + blank;
  std::string out = "\"[\"" + blank;
  for (size_t i = 0; i < first.size(); ++i) out += (i > 0 ? comma : "") + first[i] + " ";
  if (!more || max == 0) return out + (first.empty() ? "" : blank) + "\"]\"";
  if (!first.empty()) return out + repeated(comma + *more, min, max, rules) + blank + "\"]\"";
  const int64_t rest = max == Regex::kUnbounded ? max : max - 1;
  const std::string some =
      *more + " " + repeated(comma + *more, min > 0 ? min - 1 : 0, rest, rules) + blank;
  return out + (min > 0 ? some : "(" + some + ")?") + "\"]\"";
}

}  // namespace mimo::grammar
