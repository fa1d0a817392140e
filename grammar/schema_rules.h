#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "grammar/ebnf.h"

namespace mimo::grammar {

// A right side in EBNF; nothing when no text is in it.
using Texts = std::optional<std::string>;

// Names of the rules that every JSON grammar has.
namespace rule {
inline constexpr char kBlank[] = "json-blank";
inline constexpr char kAny[] = "json-any";
inline constexpr char kObject[] = "json-object";
inline constexpr char kArray[] = "json-array";
inline constexpr char kString[] = "json-string";
inline constexpr char kNumber[] = "json-number";
inline constexpr char kInteger[] = "json-integer";
inline constexpr char kBoolean[] = "json-boolean";
}  // namespace rule

// Adds those rules.
void add_json_rules(EbnfRules* rules);

// One of several; those that are nothing fall out.
Texts any_of_texts(const std::vector<Texts>& texts);

// A string of `min` to `max` (Regex::kUnbounded) characters, none of them escaped.
std::string string_of_length(int64_t min, int64_t max, EbnfRules* rules);
// A string whose text is in `regex`.
std::string string_of(const Regex& regex, EbnfRules* rules);

// An array: `first` in order, then of `more` between `min` and `max` (Regex::kUnbounded).
std::string array_of(const std::vector<std::string>& first, const Texts& more, int64_t min,
                     int64_t max, EbnfRules* rules);

}  // namespace mimo::grammar
