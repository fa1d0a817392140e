#include "bench/gpu/step_world.h"

#include <chrono>
#include <random>
#include <utility>

#include "bench/gpu/random_weights.h"
#include "parallel/shard.h"

namespace mimo::bench {
namespace {

using kvcache::KvKind;

constexpr int32_t kPageTokens = 64;

// One rank whose peers are not there: what it would exchange stays as it is.
class SilentGroup final : public parallel::TpGroup {
 public:
  SilentGroup(int32_t rank, int32_t size) : rank_(rank), size_(size) {}

  int32_t rank() const override { return rank_; }
  int32_t size() const override { return size_; }
  Result<void> all_reduce(DType, void*, int64_t, Stream) override { return {}; }
  Result<void> all_gather(const void*, void*, int64_t, Stream) override { return {}; }
  Result<void> barrier() override { return {}; }
  void abort() override {}

 private:
  const int32_t rank_;
  const int32_t size_;
};

checkpoint::ModelConfig config_of(int32_t num_layers) {
  checkpoint::ModelConfig config = checkpoint::released_model_config();
  if (num_layers == 0) return config;
  config.num_layers = num_layers;
  config.attention.resize(static_cast<size_t>(num_layers));
  config.is_moe.resize(static_cast<size_t>(num_layers));
  return config;
}

double now_ms() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double, std::milli>(now).count();
}

}  // namespace

StepWorld::StepWorld(const Options& options, checkpoint::ModelConfig config,
                     parallel::ShardPlan plan)
    : options_(options),
      config_(std::move(config)),
      plan_(std::move(plan)),
      shard_(parallel::rank_shard(config_, plan_, options.rank)) {}

Result<std::unique_ptr<StepWorld>> StepWorld::create(const Options& options,
                                                     parallel::TpGroup* group) {
  checkpoint::ModelConfig config = config_of(options.num_layers);
  TRY_ASSIGN(parallel::ShardPlan plan, parallel::plan_shards(config, {.tp = options.tp}));
  std::unique_ptr<StepWorld> world(new StepWorld(options, std::move(config), std::move(plan)));
  TRY(world->build(group));
  return world;
}

Result<void> StepWorld::build(parallel::TpGroup* group) {
  TRY_ASSIGN(ops_, kernels::cuda::make_cuda_ops({.device = options_.device,
                                                 .record = options_.record,
                                                 .random_pools = true,
                                                 .batch_invariant = options_.batch_invariant}));
  node::Model::Options model;
  model.plan = plan_;
  model.rank = options_.rank;
  model.limits.tokens_max = std::max(options_.prefill_max, options_.batch_max);
  model.limits.sequences_max = options_.batch_max;
  model.limits.logits_rows_max = options_.batch_max;
  model.limits.prefill_chunk_max = model.limits.tokens_max;
  model.limits.positions_max =
      std::max(options_.context_max, options_.prefill_max) + std::max(4096, options_.steps_max);
  model.limits.page_tokens = kPageTokens;
  const int32_t slack = options_.prefill_max / kPageTokens + 64;
  const int32_t tokens_max = options_.context_max + options_.steps_max;
  model.num_pages = {options_.batch_max * (tokens_max / kPageTokens + 3) + slack,
                     options_.batch_max * 6 + slack};
  TRY_ASSIGN(model_, node::Model::create(config_, *ops_, model,
                                         [this](const parallel::RankShard& shard, kernels::Ops&) {
                                           return random_weights(config_, shard, *ops_);
                                         }));
  if (group == nullptr) {
    silent_group_ = std::make_unique<SilentGroup>(options_.rank, options_.tp);
    group = silent_group_.get();
  }
  TRY_ASSIGN(rank_, node::Rank::create(*model_, *group, {.epoch = Epoch{1}}));
  for (size_t kind = 0; kind < kvcache::kNumKvKinds; ++kind) {
    held_[kind].resize(static_cast<size_t>(options_.batch_max));
    for (int32_t page = model.num_pages[kind] - 1; page >= 0; --page) {
      free_[kind].push_back(PageId{page});
    }
    std::shuffle(free_[kind].begin(), free_[kind].end(), std::mt19937(3));
  }
  return {};
}

node::StepPlan StepWorld::next_plan() {
  node::StepPlan plan;
  plan.epoch = Epoch{1};
  plan.step = step_++;
  return plan;
}

void StepWorld::grant(node::StepPlan& plan, int32_t slot, KvKind kind, int32_t from, int32_t to) {
  if (to <= from) return;
  const auto index = static_cast<size_t>(kind);
  node::PageGrant grant{.slot = SlotId{slot}, .kind = kind};
  for (int32_t i = from; i < to; ++i) {
    CHECK(!free_[index].empty());
    grant.pages.push_back(free_[index].back());
    held_[index][static_cast<size_t>(slot)].push_back(free_[index].back());
    free_[index].pop_back();
  }
  plan.grants.push_back(std::move(grant));
}

Result<node::StepResult> StepWorld::run(const node::StepPlan& plan) {
  TRY(rank_->start(plan));
  return rank_->finish();
}

Result<void> StepWorld::admit(int32_t batch, int32_t context) {
  std::mt19937 generator(static_cast<uint32_t>(batch + context));
  node::StepPlan plan = next_plan();
  for (int32_t slot = 0; slot < batch; ++slot) {
    node::Admission admission;
    admission.slot = SlotId{slot};
    admission.sampling.temperature = 0;
    admission.num_prompt = context;
    admission.num_cached = context - 1;
    for (int32_t i = 0; i < context; ++i) {
      admission.tokens.push_back(static_cast<int32_t>(generator() % 150000));
    }
    plan.admissions.push_back(std::move(admission));
    for (const kvcache::KvSpec& spec : model_->kv_specs()) {
      if (spec.num_layers == 0) continue;
      grant(plan, slot, spec.kind, spec.first_live_page(context - 1), spec.pages_for(context));
    }
    plan.prefills.push_back({SlotId{slot}, 1});
  }
  batch_ = batch;
  num_read_ = context;
  TRY(run(plan));
  return {};
}

Result<void> StepWorld::release_all() {
  node::StepPlan plan = next_plan();
  for (int32_t slot = 0; slot < batch_; ++slot) {
    plan.releases.push_back(SlotId{slot});
    for (size_t kind = 0; kind < kvcache::kNumKvKinds; ++kind) {
      auto& pages = held_[kind][static_cast<size_t>(slot)];
      free_[kind].insert(free_[kind].end(), pages.begin(), pages.end());
      pages.clear();
    }
  }
  batch_ = 0;
  TRY(run(plan));
  return {};
}

// Pages of the slot that are before logical page `first` go back.
void StepWorld::take_back(node::StepPlan& plan, int32_t slot, const kvcache::KvSpec& spec,
                          int32_t first) {
  const auto index = static_cast<size_t>(spec.kind);
  std::vector<PageId>& held = held_[index][static_cast<size_t>(slot)];
  const int32_t num_gone = first + static_cast<int32_t>(held.size()) - spec.pages_for(num_read_);
  if (num_gone <= 0) return;
  plan.returns.push_back({.slot = SlotId{slot}, .kind = spec.kind, .num_pages = num_gone});
  free_[index].insert(free_[index].end(), held.begin(), held.begin() + num_gone);
  held.erase(held.begin(), held.begin() + num_gone);
}

// Pages for one more token of every sequence; what has left the window goes back.
void StepWorld::grow(node::StepPlan& plan) {
  for (const kvcache::KvSpec& spec : model_->kv_specs()) {
    if (spec.num_layers == 0) continue;
    for (int32_t slot = 0; slot < batch_; ++slot) {
      take_back(plan, slot, spec, spec.first_live_page(num_read_));
      grant(plan, slot, spec.kind, spec.pages_for(num_read_), spec.pages_for(num_read_ + 1));
    }
  }
  ++num_read_;
}

Result<double> StepWorld::decode_ms(int32_t num_steps, int32_t warm_steps) {
  double begin_ms = now_ms();
  for (int32_t i = 0; i < num_steps + warm_steps; ++i) {
    node::StepPlan plan = next_plan();
    grow(plan);
    TRY(rank_->start(plan));
    if (i > 0) TRY(rank_->finish());
    if (i == warm_steps && i > 0) begin_ms = now_ms();
  }
  TRY(rank_->finish());
  // From the end of the last warm step, when the next was queued already, to the end of the last.
  return (now_ms() - begin_ms) / num_steps;
}

Result<double> StepWorld::prefill_ms(int32_t num_tokens) {
  std::mt19937 generator(5);
  node::StepPlan plan = next_plan();
  node::Admission admission;
  admission.slot = SlotId{0};
  admission.sampling.temperature = 0;
  admission.num_prompt = num_tokens;
  for (int32_t i = 0; i < num_tokens; ++i) {
    admission.tokens.push_back(static_cast<int32_t>(generator() % 150000));
  }
  plan.admissions.push_back(std::move(admission));
  for (const kvcache::KvSpec& spec : model_->kv_specs()) {
    if (spec.num_layers > 0) grant(plan, 0, spec.kind, 0, spec.pages_for(num_tokens));
  }
  plan.prefills.push_back({SlotId{0}, num_tokens});
  batch_ = 1;
  num_read_ = num_tokens;
  const double begin_ms = now_ms();
  TRY(run(plan));
  const double ms = now_ms() - begin_ms;
  TRY(release_all());
  return ms;
}

}  // namespace mimo::bench
