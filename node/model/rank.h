#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "kvcache/kv_store.h"
#include "node/engine/step_executor.h"
#include "node/engine/step_plan.h"
#include "node/model/index_buffer.h"
#include "node/model/model.h"
#include "node/model/plan_checker.h"
#include "node/model/token_chooser.h"
#include "node/model/token_masks.h"
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

// One rank's state and steps: slots, page tables, the forward pass, the draws. Every rank of a
// group gets the same plans and comes to the same results; none decides anything.
//
// Up to the backend's steps_in_flight_max() steps, two at most, are out at once. What a step draws
// stays on the device, where the next step reads it; here only counts go on. Of a step in which a
// slot draws under a constraint the forward pass is queued at once, and the draws as soon as what
// was drawn before is known: the masks are made while the device computes.
//
// Thread:    one.
// Lifetime:  `model` outlives it; a group, until it is broken or reset() brings another.
// Invariant: the bytes of page states sum to the pools (checked after every step).
class Rank final : public StepRunner {
 public:
  struct Options {
    Epoch epoch;
    // Ids from here on are refused in prompts and never drawn; 0 = the model's vocabulary.
    int32_t vocab_limit = 0;
    // Holds outputs to constraints; outlives the rank. Null: a plan with a constraint is refused.
    grammar::RuleSource* rules = nullptr;
    int32_t mask_threads_max = 8;  // threads that make masks, this one and those that help it
  };

  static Result<std::unique_ptr<Rank>> create(Model& model, parallel::TpGroup& group,
                                              const Options& options);
  Rank(const Rank&) = delete;
  Rank& operator=(const Rank&) = delete;

  int32_t steps_in_flight_max() const override;
  // One step, as StepPlan tells it. A plan that cannot be done is refused with its values and
  // changes nothing. An error of the group is kUnavailable, and so is every call after it until
  // reset(): what the steps that were out would have done is then undefined.
  Result<void> start(const StepPlan& plan) override;
  bool finished() override;
  Result<StepResult> finish() override;
  // start() and finish() where no step is out.
  Result<StepResult> run(const StepPlan& plan);

  // Has the backend record every step of decode rows that can come, so that no later step does: the
  // first start() of an epoch does it if it was not done before. Runs through the group: all ranks
  // at the same time.
  Result<void> record();

  // A new epoch over a new group: no slots, no pages held, step 0; weights stay, records go. Waits
  // for what the device still does.
  Result<void> reset(Epoch epoch, parallel::TpGroup& group);

  MemoryReport memory() const;
  MaskReport masks() const { return masks_->report(); }
  bool broken() const { return broken_.has_value(); }

 private:
  // A step that is out.
  struct Pending {
    StepResult result;  // choices and the result's digest come at its end
    ChoiceWork work;
    int32_t copy = 0;  // of the host's buffers
    kernels::Mark mark;
    // Its forward pass is queued, its draws are not: some are under a constraint, and the tokens of
    // the step before, which is out, say what they may draw. So it is the newest step, and never
    // the oldest between two calls.
    bool held = false;
    std::vector<Error> rules_errors = {};  // of work.masked
  };
  // What a record holds of a step of decode rows; part of its key.
  enum class Body : uint64_t { kGreedy = 0, kDraws, kForward };
  // The rows of the step being started, in host memory; kept and refilled.
  struct HostRows {
    std::vector<int32_t> ids;        // [T]
    std::vector<int32_t> row_run;    // [T]
    std::vector<int32_t> row_begin;  // [S + 1]
    std::vector<int32_t> context;    // [S]
    std::vector<int32_t> slot;       // [S]
    int32_t rows_per_run_max = 1;

    void clear();
    void add_run(int32_t slot_number, int32_t context_after, int32_t num_rows);
    int32_t num_tokens() const { return static_cast<int32_t>(row_run.size()); }
    int32_t num_runs() const { return static_cast<int32_t>(context.size()); }
  };
  // Entries of the page tables that the step changes.
  struct TableChanges {
    std::vector<int32_t> at;
    std::vector<int32_t> pages;
  };

  Rank(Model& model, parallel::TpGroup& group, const Options& options);
  Result<void> make_store();
  Result<void> check_turn(const StepPlan& plan) const;
  void change_slots(const StepPlan& plan);
  void change_tables(const StepPlan& plan);
  void build_rows(std::span<const SlotRun> runs);
  void build_tasks(std::span<const SlotRun> runs, Pending& step);
  bool only_decodes(std::span<const SlotRun> runs) const;
  void pad(int32_t num_rows);
  StepRows upload_rows(Pending& step);
  Result<void> queue(Pending& step, bool decodes);
  Result<void> queue_draws(Pending& step);
  Result<void> take(Pending& step, StepResult& result);
  void advance(std::span<const SlotRun> runs);
  Result<void> record_all();
  Result<void> record_step(int32_t num_rows, Body body, bool once);
  void check_memory() const;
  Error fail(const Error& error);

  Model& model_;
  parallel::TpGroup* group_;  // reset() replaces it
  const Options options_;
  PlanChecker checker_;
  std::unique_ptr<TokenChooser> chooser_;
  std::unique_ptr<TokenMasks> masks_;
  std::unique_ptr<kvcache::KvStore> store_;
  Epoch epoch_;
  int64_t step_ = 0;
  uint64_t plan_digest_ = 0;
  uint64_t result_digest_ = 0;
  std::vector<SlotState> slots_;  // [sequences_max]
  // [sequences_max] by kvcache::KvKind: behind the last logical page that the slot was granted
  std::vector<std::array<int32_t, kvcache::kNumKvKinds>> page_ends_;
  std::optional<Error> broken_;
  bool recorded_ = false;
  std::deque<Pending> pending_;  // the oldest first
  IndexBuffer indices_;
  HostRows rows_;
  TableChanges table_changes_;
  std::vector<RowTask> tasks_;
};

}  // namespace mimo::node
