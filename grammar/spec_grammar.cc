#include "grammar/spec_grammar.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "grammar/ebnf.h"
#include "grammar/json_schema.h"
#include "grammar/regex.h"
#include "grammar/utf8.h"

namespace mimo::grammar {
namespace {

Result<void> check_text(const std::string& text, const char* what) {
  if (!from_utf8(text)) return invalid_argument(std::string(what) + " is not UTF-8");
  if (text.find('\0') != std::string::npos)
    return invalid_argument(std::string(what) + " has a NUL character");
  return {};
}

Result<EbnfRules> choice_grammar(const Spec& spec, const SpecLimits& limits) {
  const auto count = static_cast<int64_t>(spec.choices.size());
  if (count == 0 || count > limits.choices_max)
    return invalid_argument("choice has " + std::to_string(count) + " texts: expected 1 to " +
                            std::to_string(limits.choices_max));
  std::string any;
  for (size_t i = 0; i < spec.choices.size(); ++i) {
    TRY(check_text(spec.choices[i], "choice"));
    if (i > 0) any += " | ";
    any += ebnf_literal(spec.choices[i]);
  }
  EbnfRules rules("x");
  rules.add_named("root", any);
  return rules;
}

Result<EbnfRules> rules_of(const Spec& spec, const SpecLimits& limits) {
  if (spec.kind == Spec::Kind::kJsonSchema) return json_schema_grammar(spec.text, limits.schema);
  if (spec.kind == Spec::Kind::kJsonObject) return json_object_grammar();
  if (spec.kind == Spec::Kind::kChoice) return choice_grammar(spec, limits);
  if (spec.kind != Spec::Kind::kRegex) return invalid_argument("the constraint has no kind");
  const auto regex = parse_regex(spec.text, /*whole=*/true, limits.schema.regex);
  if (!regex.ok()) return regex.error().with_context("regex");
  return regex_grammar(regex.value());
}

// Of such a word the first place in a text is where its first letter after no other begins; of one
// whose end is its own beginning ("aa") a grammar cannot tell.
Result<void> check_free_until(const std::string& word) {
  TRY(check_text(word, "free_until"));
  for (size_t n = 1; n < word.size(); ++n)
    if (word.compare(0, n, word, word.size() - n, n) == 0)
      return invalid_argument("free_until is \"" + word +
                              "\": expected a word that does not end as it begins");
  return {};
}

// Walks an EBNF text: outside its literals, classes and comments.
class EbnfWalk {
 public:
  EbnfWalk(std::string_view text, const SpecLimits& limits) : text_(text), limits_(limits) {}
  Result<void> run();

 private:
  Result<void> skip_quoted(char end);
  Result<void> repetition();
  Result<void> word();
  Error wrong(const std::string& what) const {
    const auto line = std::count(text_.begin(), text_.begin() + static_cast<int64_t>(at_), '\n');
    return invalid_argument("line " + std::to_string(line + 1) + ": " + what);
  }

  std::string_view text_;
  const SpecLimits& limits_;
  size_t at_ = 0;
  int32_t depth_ = 0;
};

Result<void> EbnfWalk::skip_quoted(char end) {
  const size_t start = at_;
  for (++at_; at_ < text_.size() && text_[at_] != end && text_[at_] != '\n'; ++at_)
    if (text_[at_] == '\\') ++at_;
  if (at_ >= text_.size() || text_[at_] != end) {
    at_ = start;
    return wrong(std::string("a ") + text_[start] + " without its " + end + " on the line");
  }
  ++at_;
  return {};
}

Result<void> EbnfWalk::repetition() {
  int64_t number = 0;
  for (++at_; at_ < text_.size() && text_[at_] != '}'; ++at_) {
    const char c = text_[at_];
    number = c >= '0' && c <= '9' ? std::min<int64_t>(number * 10 + (c - '0'), INT32_MAX) : 0;
    if (number > limits_.repetition_max)
      return wrong("a repetition of more than " + std::to_string(limits_.repetition_max));
  }
  return {};
}

Result<void> EbnfWalk::word() {
  const size_t start = at_;
  const auto is_part = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.';
  };
  while (at_ < text_.size() && is_part(text_[at_])) ++at_;
  const std::string_view word = text_.substr(start, at_ - start);
  const size_t next = text_.find_first_not_of(" \t\r\n", at_);
  const bool calls = next != std::string_view::npos && text_[next] == '(';
  static constexpr std::array<std::string_view, 5> kMacros = {
      "Token", "ExcludeToken", "TokenTagDispatch", "Regex", "Substring"};
  if (calls && std::find(kMacros.begin(), kMacros.end(), word) != kMacros.end())
    return wrong("the macro " + std::string(word) + " is not supported");
  return {};
}

Result<void> EbnfWalk::run() {
  while (at_ < text_.size()) {
    const char c = text_[at_];
    if (c == '#') {
      at_ = std::min(text_.find('\n', at_), text_.size());
    } else if (c == '"') {
      TRY(skip_quoted('"'));
    } else if (c == '[') {
      TRY(skip_quoted(']'));
      const size_t next = text_.find_first_not_of(" \t\n\r", at_);
      if (next != std::string_view::npos && text_.substr(next, 3) == "::=")
        return wrong("options of a rule are not supported");
    } else if (c == '{') {
      TRY(repetition());
    } else if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_') {
      TRY(word());
    } else {
      if (c == '(' && ++depth_ > limits_.groups_depth_max)
        return wrong("parentheses deeper than " + std::to_string(limits_.groups_depth_max));
      if (c == ')') --depth_;
      ++at_;
    }
  }
  return {};
}

}  // namespace

EbnfRules regex_grammar(const Regex& regex) {
  EbnfRules rules("x");
  rules.add_named("root", to_ebnf(regex, &rules));
  return rules;
}

Result<void> check_ebnf(std::string_view text, const SpecLimits& limits) {
  return EbnfWalk(text, limits).run();
}

Result<EngineText> engine_text(const Spec& spec, const SpecLimits& limits) {
  int64_t bytes = static_cast<int64_t>(spec.text.size() + spec.free_until.size());
  for (const std::string& choice : spec.choices) bytes += static_cast<int64_t>(choice.size());
  if (bytes > limits.text_bytes_max)
    return invalid_argument("the constraint has " + std::to_string(bytes) +
                            " bytes: expected at most " + std::to_string(limits.text_bytes_max));
  TRY(check_free_until(spec.free_until));
  if (spec.kind == Spec::Kind::kStructuralTag) {
    TRY(check_text(spec.text, "structural_tag"));
    auto made = checked_structural_tag(spec.text, spec.free_until, limits);
    if (!made.ok()) return made.error().with_context("structural_tag");
    return made;
  }
  EngineText made;
  if (spec.kind == Spec::Kind::kGrammar) {
    TRY(check_text(spec.text, "grammar"));
    const auto checked = check_ebnf(spec.text, limits);
    if (!checked.ok()) return checked.error().with_context("grammar");
    made.text = spec.text + "\n";
  } else {
    TRY_ASSIGN(const EbnfRules rules, rules_of(spec, limits));
    made.text = rules.text();
    made.least_bound = rules.least_bound();
  }
  if (spec.free_until.empty()) return made;
  const std::string word = ebnf_literal(spec.free_until);
  made.root = "bound-after-free-text";
  made.text += made.root + " ::= free-text " + word + " root\n" +
               "free-text ::= TagDispatch(loop_after_dispatch=false, excludes=(" + word + ",))\n";
  return made;
}

}  // namespace mimo::grammar
