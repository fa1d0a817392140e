#pragma once

#include <cstdint>
#include <memory>

#include "base/result.h"
#include "checkpoint/checkpoint.h"
#include "grammar/token_rules.h"

namespace mimo::node {

// What holds outputs to constraints: rules over the tokens of the checkpoint's tokenizer. Null
// where the checkpoint has none, which is no error. `vocab_limit`: as Rank::Options, never 0.
Result<std::shared_ptr<grammar::RuleSource>> make_rules(const checkpoint::Checkpoint& checkpoint,
                                                        int32_t vocab_limit);

}  // namespace mimo::node
