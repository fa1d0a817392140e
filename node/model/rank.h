#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "kvcache/kv_store.h"
#include "node/engine/step_plan.h"
#include "node/model/model.h"
#include "node/model/plan_checker.h"
#include "node/model/token_chooser.h"
#include "parallel/tp_group.h"

namespace mimo::node {

// What one rank's memory is taken for.
struct MemoryReport {
  struct Kv {
    kvcache::KvKind kind = kvcache::KvKind::kFull;
    kvcache::KvPlane plane = kvcache::KvPlane::kK;
    kvcache::PageState state = kvcache::PageState::kFree;
    int64_t bytes = 0;
  };
  std::array<int64_t, kernels::kNumPurposes> by_purpose = {};
  std::vector<Kv> kv;  // groups that the model has; each plane's sum to by_purpose of K and V
};

// One rank's state and step: slots, page tables, the forward pass, the draws. Every rank of a group
// gets the same plans and comes to the same results; none decides anything.
//
// Thread:    one.
// Lifetime:  `model` outlives it; a group, until it is broken or reset() brings another.
// Invariant: the bytes of page states sum to the pools (checked after every step).
class Rank {
 public:
  struct Options {
    Epoch epoch;
    // Ids from here on are refused in prompts and never drawn; 0 = the model's vocabulary.
    int32_t vocab_limit = 0;
  };

  static Result<std::unique_ptr<Rank>> create(Model& model, parallel::TpGroup& group,
                                              const Options& options);
  Rank(const Rank&) = delete;
  Rank& operator=(const Rank&) = delete;

  // One step, as StepPlan tells it. A plan that cannot be done is refused with its values and
  // changes nothing. An error of the group is kUnavailable, and so is every run() after it until
  // reset(): what the step would have done is then undefined.
  Result<StepResult> run(const StepPlan& plan);

  // A new epoch over a new group: no slots, no pages held, step 0; weights stay.
  Result<void> reset(Epoch epoch, parallel::TpGroup& group);

  MemoryReport memory() const;
  bool broken() const { return broken_.has_value(); }

 private:
  Rank(Model& model, parallel::TpGroup& group, const Options& options);
  Result<void> make_store();
  Result<void> check_turn(const StepPlan& plan) const;
  void change_slots(const StepPlan& plan);
  void build_rows(std::span<const SlotRun> runs);
  void build_pages(std::span<const SlotRun> runs, kvcache::KvKind kind);
  void build_tasks(std::span<const SlotRun> runs, std::vector<SlotOutput>& outputs);
  Result<void> run_model(std::vector<SlotOutput>& outputs);
  void advance(std::span<const SlotRun> runs, const std::vector<SlotOutput>& outputs);
  void check_memory() const;
  Error fail(const Error& error);

  Model& model_;
  parallel::TpGroup* group_;  // reset() replaces it
  const Options options_;
  PlanChecker checker_;
  std::unique_ptr<TokenChooser> chooser_;
  std::unique_ptr<kvcache::KvStore> store_;
  Epoch epoch_;
  int64_t step_ = 0;
  uint64_t plan_digest_ = 0;
  uint64_t result_digest_ = 0;
  std::vector<SlotState> slots_;  // [sequences_max]
  std::optional<Error> broken_;
  StepRows rows_;
  std::vector<RowTask> tasks_;
};

}  // namespace mimo::node
