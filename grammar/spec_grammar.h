#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "grammar/ebnf.h"
#include "grammar/schema_limits.h"
#include "grammar/token_rules.h"

namespace mimo::grammar {

struct SpecLimits {
  int64_t text_bytes_max = 256 << 10;
  int32_t choices_max = 4096;
  int32_t groups_depth_max = 64;  // parentheses in an EBNF grammar
  int64_t repetition_max = 100;   // in an EBNF grammar
  int32_t formats_max = 500;      // in a structural tag
  SchemaLimits schema = {};
};

// A spec as the engine takes it.
struct EngineText {
  enum class Kind : uint8_t { kEbnf, kStructuralTag };
  Kind kind = Kind::kEbnf;
  std::string text;
  std::string root = "root";  // kEbnf: the rule that the text is
  // The engine counts the characters of some part up to no fewer than these (EbnfRules).
  int64_t least_bound = INT64_MAX;
};

// kInvalidArgument with the place and what was expected there.
Result<EngineText> engine_text(const Spec& spec, const SpecLimits& limits);

// An EBNF grammar from outside: nested and repeated within bounds, without macros (of TagDispatch
// alone), without the options of rules, which sample and capture.
Result<void> check_ebnf(std::string_view text, const SpecLimits& limits);

// The grammar of a regular expression's texts, from `root`.
EbnfRules regex_grammar(const Regex& regex);

// structural_tag.cc. The formats are checked, and those whose texts we make grammars of (JSON
// Schema, regular expressions) become grammars; `free_until` as in Spec.
Result<EngineText> checked_structural_tag(const std::string& json, const std::string& free_until,
                                          const SpecLimits& limits);

}  // namespace mimo::grammar
