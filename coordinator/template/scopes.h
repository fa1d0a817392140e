#pragma once

#include "base/result.h"
#include "coordinator/template/ast.h"

namespace mimo::chat {

// Gives every name of a parsed template its variable, by Jinja's rules: a scope's names are known
// before it runs; what is set in a loop, a macro or a block stays there; a name that is set
// somewhere in a scope starts as the outer variable of that name, or as what the rendering was
// given.
Result<Program> resolve_names(Block body);

}  // namespace mimo::chat
