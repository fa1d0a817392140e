#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "checkpoint/checkpoint.h"
#include "deferred_ops.h"
#include "kernels/ops.h"
#include "node/model/rank.h"
#include "parallel/tp_group.h"

// Names of its own: the engine has a Sequence too.
namespace mimo::node::model_test {

// A sanitizer's build is many times slower and looks for other faults: less will do there.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

// --- Recorded answers ---------------------------------------------------------------------------

struct GoldenCase {
  std::vector<int32_t> prompt;
  std::vector<int32_t> greedy;
  double min_top2_margin = 0;
  std::string logits;  // name of the prompt's logits, or empty
};

// A golden checkpoint's folder by its name, or models/tiny by "tiny".
std::string checkpoint_folder(const std::string& name);
std::vector<GoldenCase> golden_cases(const std::string& folder);
// [prompt, vocab]
std::vector<float> golden_logits(const std::string& folder, const std::string& name);

// --- Ranks in this process ----------------------------------------------------------------------

struct ClusterOptions {
  int32_t tp = 1;
  kernels::CpuMode mode = kernels::CpuMode::kF32;
  std::optional<parallel::ExpertPlacement> experts = std::nullopt;
  ModelLimits limits = {};
  std::array<int32_t, kvcache::kNumKvKinds> num_pages = {400, 400};
  int32_t vocab_limit = 0;
  int64_t group_timeout_ms = 30000;
  DeferredCounts* deferred = nullptr;  // set: over a DeferredOps that counts there; tp 1
  // Set: another backend instead of the CPU's; tp 1.
  std::function<Result<std::unique_ptr<kernels::Ops>>()> make_ops = {};
  // Set: the ranks take constraints; a source each.
  std::function<std::unique_ptr<grammar::RuleSource>()> make_rules = {};
};

// Limits that fit every recorded case at once.
ModelLimits test_limits(int32_t page_tokens);

// All ranks of one group, each step on a thread a rank.
class Cluster {
 public:
  static Result<std::unique_ptr<Cluster>> create(const std::string& folder,
                                                 const ClusterOptions& options);
  ~Cluster();

  // Every rank's step; expects that all ranks answer alike.
  Result<StepResult> run(const StepPlan& plan);
  Result<void> start(const StepPlan& plan);
  Result<StepResult> finish();
  int32_t steps_in_flight_max() const { return members_[0].rank->steps_in_flight_max(); }
  // A new group and epoch for all ranks.
  void reset();

  int32_t size() const { return static_cast<int32_t>(members_.size()); }
  const checkpoint::ModelConfig& config() const { return members_[0].model->config(); }
  const ClusterOptions& options() const { return options_; }
  const KvSpecs& specs() const { return members_[0].model->kv_specs(); }
  Rank& rank(int32_t i) { return *members_[i].rank; }
  grammar::RuleSource& rules(int32_t i) { return *members_[i].rules; }
  Model& model(int32_t i) { return *members_[i].model; }
  parallel::TpGroup& group(int32_t i) { return *groups_[i]; }
  Epoch epoch() const { return epoch_; }

 private:
  struct Member {
    std::unique_ptr<kernels::Ops> ops;
    std::unique_ptr<Model> model;
    std::unique_ptr<grammar::RuleSource> rules;
    std::unique_ptr<Rank> rank;
  };
  Cluster() = default;
  Result<void> load(const std::string& folder);
  Result<StepResult> on_all(const std::function<Result<StepResult>(Rank&)>& call);

  ClusterOptions options_;
  Epoch epoch_{1};
  std::vector<std::unique_ptr<parallel::TpGroup>> groups_;
  std::vector<Member> members_;
};

// --- The simplest scheduler ---------------------------------------------------------------------

struct Sequence {
  std::vector<int32_t> prompt;
  int32_t num_outputs = 0;
  kernels::SamplingParams sampling = {};
  int32_t num_prompt_logprobs = -1;
  grammar::Spec constraint = {};
  // What came out.
  std::vector<kernels::TokenChoice> outputs = {};
  Error rules_error{Code::kOk, ""};                     // the first
  std::map<int32_t, kernels::TokenChoice> scores = {};  // by position

  std::vector<int32_t> output_ids() const;
};

// Greedy, with every logit of every row when `all_logits`.
Sequence golden_sequence(const GoldenCase& one, bool all_logits);

// Plans steps for sequences that all fit at once, slot i for sequence i, as far ahead as the ranks
// take them. Window pages go back as soon as they leave the window.
class Planner {
 public:
  Planner(Cluster& cluster, std::vector<Sequence>& sequences, int32_t chunk);

  void admit(int32_t i);
  // Gives up everything of sequence i; admit() later reads it all again.
  void release(int32_t i);
  bool done() const;
  // One step; expects success.
  void step();
  // Takes what is out.
  void drain();
  void run_to_end();
  int32_t free_pages(kvcache::KvKind kind) const {
    return static_cast<int32_t>(free_[static_cast<size_t>(kind)].size());
  }

 private:
  struct Slot {
    bool active = false;
    int32_t num_known = 0;
    int32_t num_read = 0;
    int32_t num_drawn = 0;  // with what is still out
    std::array<int32_t, kvcache::kNumKvKinds> first_page = {0, 0};
    std::array<std::vector<PageId>, kvcache::kNumKvKinds> pages;
  };
  void plan_rows();
  void plan_pages(int32_t slot, int32_t num_tokens);
  void give_up(int32_t i);
  void take_one();
  void take(const StepResult& result);

  Cluster& cluster_;
  std::vector<Sequence>& sequences_;
  const int32_t chunk_;
  std::vector<Slot> slots_;
  std::array<std::vector<PageId>, kvcache::kNumKvKinds> free_;
  StepPlan plan_;
  int64_t next_step_ = 0;
  int32_t num_out_ = 0;
};

// All sequences from start to end on a fresh epoch.
void generate(Cluster& cluster, std::vector<Sequence>& sequences, int32_t chunk);

}  // namespace mimo::node::model_test
