#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "kvcache/kv_store.h"
#include "node/engine/step_plan.h"
#include "node/model/kv_layout.h"
#include "node/model/model_limits.h"

namespace mimo::node {

// What a rank knows of the sequence in one slot.
struct SlotState {
  bool active = false;
  std::vector<int32_t> tokens;  // as admitted; what is drawn after them only the backend keeps
  int32_t num_prompt = 0;
  int32_t num_known = 0;  // `tokens` and every draw that has been started
  int32_t num_read = 0;   // of them, whose K and V are in the cache once all steps are done
  int32_t num_logprobs = -1;
  bool plain_greedy = false;  // as kernels::SampleParams
  int32_t num_prompt_logprobs = -1;
  bool raw_logits = false;
};

// One slot's rows of a step: its tokens at [begin, begin + num_tokens).
struct SlotRun {
  SlotId slot;
  int32_t begin = 0;
  int32_t num_tokens = 0;
  bool draws = false;  // the last row is the last known token
};

// Whether a plan can be done from where a rank stands, decided before anything changes. Whose each
// page is remains the KvStore's to check; here is everything else.
//
// Thread: one.
class PlanChecker {
 public:
  struct Options {
    int32_t vocab_limit = 0;  // tokens are below this
    int32_t vocab = 0;        // other ids are below this
    ModelLimits limits;
    KvSpecs specs;             // groups with num_layers == 0 are left out
    bool constraints = false;  // outputs can be held to one
  };

  explicit PlanChecker(const Options& options);

  // The step's rows, in the plan's order; good until the next call. The slots and the store stand
  // before the plan. kInvalidArgument or kInternal, naming slot, values and bounds.
  Result<std::span<const SlotRun>> check(const StepPlan& plan, std::span<const SlotState> slots,
                                         const kvcache::KvStore& store);

 private:
  // A slot as it will be once the plan's changes are made.
  struct View {
    bool active = false;
    bool has_rows = false;
    int32_t num_known = 0;
    int32_t num_read = 0;
    std::array<int32_t, kvcache::kNumKvKinds> first_page = {0, 0};
    std::array<int32_t, kvcache::kNumKvKinds> num_pages = {0, 0};
  };

  void start(std::span<const SlotState> slots, const kvcache::KvStore& store);
  Result<void> check_slot(SlotId slot, bool active, const char* what) const;
  Result<void> check_kind(SlotId slot, kvcache::KvKind kind, const char* what) const;
  Result<void> check_changes(const StepPlan& plan);
  Result<void> check_admission(const Admission& admission) const;
  Result<void> check_id(SlotId slot, const char* what, int32_t id, int32_t end) const;
  Result<void> check_return(const PageReturn& change);
  Result<void> check_rows(const StepPlan& plan);
  Result<void> check_pages(const SlotRun& run) const;
  void add_run(SlotId slot, int32_t num_tokens);

  const Options options_;
  std::vector<View> views_;  // [sequences_max]
  std::vector<SlotRun> runs_;
};

}  // namespace mimo::node
