#pragma once

#include <cstdint>
#include <memory>

#include "checkpoint/checkpoint.h"
#include "grammar/token_rules.h"

namespace mimo::node {

// What holds outputs to constraints: rules over the tokens of the checkpoint's tokenizer. Null
// where there can be none (no tokenizer that is understood, no end in the vocabulary, a build
// without them), which is logged with its reason. `vocab_limit`: as Rank::Options, never 0. The
// leader's check decides what compiles in time; the other ranks have more of it, so that none of
// them alone fails a constraint that the leader took.
std::shared_ptr<grammar::RuleSource> make_rules(const checkpoint::Checkpoint& checkpoint,
                                                int32_t vocab_limit, bool leads);

}  // namespace mimo::node
