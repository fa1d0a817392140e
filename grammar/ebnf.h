#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "grammar/regex.h"

namespace mimo::grammar {

// Rules of a grammar as the engine reads them (EBNF), on their way.
//
// Thread: one.
class EbnfRules final {
 public:
  // Names are `prefix` and a number.
  explicit EbnfRules(std::string prefix) : prefix_(std::move(prefix)) {}

  // Adds a rule; its name.
  std::string add(const std::string& body);
  // As add(), of texts of at most `characters_max` characters. Exact where the rule's texts may end
  // after any character.
  std::string add_bounded(const std::string& body, int64_t characters_max);
  void add_named(const std::string& name, const std::string& body);

  const std::string& text() const { return text_; }
  // The least of add_bounded()'s; INT64_MAX when there is none.
  int64_t least_bound() const { return least_bound_; }

 private:
  std::string prefix_;
  std::string text_;
  int32_t num_rules_ = 0;
  int64_t least_bound_ = INT64_MAX;
};

// A text as a literal, and one character as a class.
std::string ebnf_literal(std::string_view utf8);
std::string ebnf_class(const std::vector<CharRange>& set);

// `regex` as a right side. One automaton where that is not too dear to make ready for a vocabulary:
// then a step takes microseconds. Else groups and rules, whose steps may take as long as to look at
// every token.
std::string to_ebnf(const Regex& regex, EbnfRules* rules);

// `part` (any right side) from `min` to `max` (Regex::kUnbounded) times. Never as one repetition of
// more than 100: of longer ones the engine's masks allow what it then refuses.
std::string repeated(const std::string& part, int64_t min, int64_t max, EbnfRules* rules);

// From `min` to `max` characters of a set.
std::string characters(const std::vector<CharRange>& set, int64_t min, int64_t max,
                       EbnfRules* rules);

}  // namespace mimo::grammar
