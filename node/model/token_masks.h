#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "base/units.h"
#include "grammar/token_rules.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/ops.h"

namespace mimo::node {

// What masks have cost a rank since it was created.
struct MaskReport {
  int64_t num_masks = 0;
  int64_t duration_ns = 0;  // in which the device works on the forward pass
};

// The rules of the slots whose outputs are held to a constraint, and the masks that a step's draws
// need of them. Rules hear of a token when the next mask is wanted, so that all of their work is
// done where the device works too, several slots at once by a few threads.
// A step's masks: fill(), then sent() with a mark behind the draws.
//
// Thread:    one; fill() has helpers, which wait in between.
// Lifetime:  `ops` and `source` outlive it.
class TokenMasks {
 public:
  struct Options {
    grammar::RuleSource* source = nullptr;  // null: no slot can have a constraint
    int32_t num_slots = 0;
    int32_t vocab_limit = 0;
    int32_t num_copies = 0;  // steps that may be out at once
    int32_t threads_max = 0;
  };

  // `bytes`: of a mask for every slot.
  static Result<std::unique_ptr<TokenMasks>> create(kernels::Ops& ops, const Options& options,
                                                    int64_t bytes);

  bool has_source() const { return options_.source != nullptr; }
  // Its rules are about to be wanted: the source compiles it in the background.
  void announce(const grammar::Spec& spec);
  // `outputs`: those that a sequence that is admitted again already has. Answers at once.
  void admit(SlotId slot, const grammar::Spec& spec, std::span<const int32_t> outputs);
  void release(SlotId slot);
  // A number that no other sequence ever has; -1: the slot has no constraint.
  int64_t tenant(SlotId slot) const { return slots_[slot.value].tenant; }
  // The slot's sequence has one more output. Nothing happens when the slot is another's by now.
  void drew(SlotId slot, int64_t tenant, int32_t token);

  // Row i: what slots[i] may draw next, once uploaded; the backend's memory. Where a slot's rules
  // fail, its row allows nothing and errors[i] says why, now and from here on.
  const uint32_t* fill(std::span<const SlotId> slots, int32_t copy, std::vector<Error>& errors);
  MaskReport report() const { return report_; }
  void sent(int32_t copy, kernels::Mark mark) { copies_[copy].sent = mark; }

 private:
  struct Slot {
    int64_t tenant = -1;
    std::unique_ptr<grammar::TokenRules> rules;
    std::vector<int32_t> unheard;  // outputs that the rules have not been told
    Error error{Code::kOk, ""};
  };
  struct Copy {
    uint32_t* host = nullptr;
    kernels::Mark sent;
  };

  TokenMasks(kernels::Ops& ops, const Options& options);
  static Result<void> fill_one(Slot& slot, std::span<uint32_t> mask);

  kernels::Ops& ops_;
  const Options options_;
  const int64_t words_;  // of a mask
  uint32_t* device_ = nullptr;
  std::vector<Copy> copies_;
  std::vector<Slot> slots_;
  int64_t num_tenants_ = 0;
  MaskReport report_;
  std::unique_ptr<kernels::ThreadPool> pool_;  // null until there is enough to do
};

}  // namespace mimo::node
