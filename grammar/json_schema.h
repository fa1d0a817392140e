#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "grammar/ebnf.h"
#include "grammar/schema_limits.h"

namespace mimo::grammar {

// The grammar (EBNF, from its rule `root`) of JSON texts that the schema accepts. Not all of them:
// properties come in their declared order, absent `additionalProperties` means false, blanks are
// bounded (README.md lists it). But each text of the grammar is one: a keyword that cannot be held
// to is kInvalidArgument with its JSON pointer.
Result<EbnfRules> json_schema_grammar(std::string_view schema, const SchemaLimits& limits);

// That of any JSON object.
EbnfRules json_object_grammar();

}  // namespace mimo::grammar
