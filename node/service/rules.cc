#include "node/service/rules.h"

namespace mimo::node {

Result<std::shared_ptr<grammar::RuleSource>> make_rules(const checkpoint::Checkpoint& checkpoint,
                                                        int32_t vocab_limit) {
  (void)checkpoint;
  (void)vocab_limit;
  return std::shared_ptr<grammar::RuleSource>();
}

}  // namespace mimo::node
