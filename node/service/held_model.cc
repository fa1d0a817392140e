#include "node/service/held_model.h"

#include <cstdio>
#include <utility>

#include "base/log.h"
#include "node/model/memory_plan.h"
#include "node/service/rules.h"

namespace mimo::node {
namespace {

constexpr auto kFull = static_cast<size_t>(kvcache::KvKind::kFull);
constexpr auto kWindow = static_cast<size_t>(kvcache::KvKind::kWindow);

// All of an assignment that decides what is loaded and allocated.
std::string settings_of(v1::AssignRank assign) {
  assign.clear_group();
  assign.clear_epoch();
  assign.clear_waiting_max();
  assign.clear_step_timeout_s();
  return assign.SerializeAsString();
}

Result<parallel::ExpertPlacement> experts(const std::string& name) {
  if (name == "columns") return parallel::ExpertPlacement::kColumns;
  if (name == "whole") return parallel::ExpertPlacement::kWhole;
  return invalid_argument("experts \"" + name + "\"; expected columns or whole");
}

ModelLimits limits_of(const v1::AssignRank& assign) {
  ModelLimits limits;
  limits.tokens_max = assign.batch_tokens_max();
  limits.sequences_max = assign.sequences_max();
  limits.prefill_chunk_max = assign.prefill_chunk_max();
  limits.positions_max = assign.positions_max();
  limits.page_tokens = assign.page_tokens();
  return limits;
}

// Without its pages.
Result<Model::Options> model_options(const checkpoint::Checkpoint& checkpoint,
                                     const v1::AssignRank& assign) {
  Model::Options options;
  options.rank = assign.rank();
  options.limits = limits_of(assign);
  TRY(options.limits.validate(checkpoint.config()));
  TRY_ASSIGN(const parallel::ExpertPlacement placement, experts(assign.experts()));
  TRY_ASSIGN(options.plan,
             parallel::plan_shards(checkpoint.config(), {.tp = assign.tp(), .experts = placement}));
  return options;
}

// The budget of a rank on the CPU, unless it is told.
constexpr int64_t kCpuKvBytes = int64_t{256} << 20;
// For graphs, NCCL's buffers, and rows and scales that weights are padded by: not measured yet.
constexpr int64_t kReserveBytes = int64_t{2} << 30;

// What the backend's own workspace takes: found by taking it once.
Result<int64_t> backend_workspace(const checkpoint::ModelConfig& config,
                                  const Model::Options& options, kernels::Ops& ops) {
  const parallel::RankShard shard = parallel::rank_shard(config, options.plan, options.rank);
  TRY(ops.prepare(ops_limits(config, options.plan, shard, options.limits,
                             ops.padded_rows(options.limits.sequences_max))));
  return ops.bytes_by_purpose()[static_cast<size_t>(kernels::Purpose::kWorkspace)];
}

Result<int64_t> device_kv_bytes(const checkpoint::Checkpoint& checkpoint,
                                const v1::AssignRank& assign, const WorkerConfig& worker,
                                const Backend& backend) {
  const checkpoint::ModelConfig& config = checkpoint.config();
  TRY_ASSIGN(const Model::Options options, model_options(checkpoint, assign));
  DeviceBudget budget;
  budget.fraction = worker.memory_fraction;
  budget.reserve_bytes = kReserveBytes;
  budget.weight_bytes = resident_weight_bytes(config, options.plan, assign.rank());
  {
    TRY_ASSIGN(const auto ops, backend.make_ops(assign.mode()));
    TRY_ASSIGN(budget.workspace_bytes, backend_workspace(config, options, *ops));
    const parallel::RankShard shard = parallel::rank_shard(config, options.plan, options.rank);
    budget.workspace_bytes +=
        step_buffer_sizes(config, options.plan, shard, options.limits, ops->activation_dtype(),
                          ops->padded_rows(options.limits.sequences_max))
            .total();
  }
  const CudaDeviceInfo device = backend.device_info();
  budget.total_bytes = device.total_bytes;
  budget.used_bytes = device.total_bytes - device.free_bytes;
  TRY_ASSIGN(const int64_t kv_bytes, budget.kv_bytes());
  log_info("memory_budget", {{"device_bytes", budget.total_bytes},
                             {"fraction", budget.fraction},
                             {"used", budget.used_bytes},
                             {"weights", budget.weight_bytes},
                             {"workspace", budget.workspace_bytes},
                             {"graphs_and_communicators", budget.reserve_bytes},
                             {"k_and_v", kv_bytes}});
  return kv_bytes;
}

// Explicit counts win over what the budget would buy.
Result<std::array<int32_t, kvcache::kNumKvKinds>> pages_of(const v1::AssignRank& assign,
                                                           const checkpoint::ModelConfig& config,
                                                           const Model::Options& options,
                                                           int64_t kv_bytes,
                                                           const kernels::Ops& ops) {
  std::array<int32_t, kvcache::kNumKvKinds> pages = {assign.full_pages(), assign.window_pages()};
  const bool needs_full = config.num_layers_of(checkpoint::AttentionKind::kFull) > 0;
  const bool needs_window = config.num_layers_of(checkpoint::AttentionKind::kWindow) > 0;
  if (!needs_full) pages[kFull] = 0;
  if (!needs_window) pages[kWindow] = 0;
  const bool full_known = !needs_full || pages[kFull] > 0;
  const bool window_known = !needs_window || pages[kWindow] > 0;
  if (full_known && window_known) return pages;
  MemoryOptions memory;
  memory.limits = options.limits;
  memory.kv_budget_bytes = kv_bytes;
  memory.activation = ops.activation_dtype();
  memory.k_dtype = memory.v_dtype = ops.cache_dtype();
  TRY_ASSIGN(const MemoryPlan plan, plan_memory(config, options.plan, memory));
  if (!full_known) pages[kFull] = plan.num_pages[kFull];
  if (!window_known) pages[kWindow] = plan.num_pages[kWindow];
  return pages;
}

}  // namespace

Result<std::unique_ptr<checkpoint::Checkpoint>> open_checkpoint(const v1::AssignRank& assign) {
  TRY_ASSIGN(auto checkpoint, checkpoint::Checkpoint::open(assign.model_folder()));
  if (checkpoint->digest() != assign.checkpoint_digest()) {
    char text[120];
    std::snprintf(text, sizeof text, ": its digest here is %016llx, the coordinator's %016llx",
                  static_cast<unsigned long long>(checkpoint->digest()),
                  static_cast<unsigned long long>(assign.checkpoint_digest()));
    return Error{Code::kFailedPrecondition, assign.model_folder() + text};
  }
  return checkpoint;
}

bool fits(const HeldModel& held, const v1::AssignRank& assign) {
  return held.settings == settings_of(assign);
}

Result<int64_t> find_kv_bytes(const checkpoint::Checkpoint& checkpoint,
                              const v1::AssignRank& assign, const WorkerConfig& config,
                              const Backend& backend, std::unique_ptr<HeldModel>& held) {
  if (held != nullptr && fits(*held, assign)) return held->kv_bytes;
  if (assign.full_pages() > 0 && assign.window_pages() > 0) return 0;  // told otherwise
  if (!backend.is_cuda()) return kCpuKvBytes;
  held.reset();
  return device_kv_bytes(checkpoint, assign, config, backend);
}

void settle(HeldModel& held) {
  held.ops->wait(held.ops->mark());
  held.ops->forget_recordings();
}

Result<std::unique_ptr<HeldModel>> load_model(const checkpoint::Checkpoint& checkpoint,
                                              const v1::AssignRank& assign, int64_t kv_bytes,
                                              const WorkerConfig& config, const Backend& backend) {
  auto held = std::make_unique<HeldModel>();
  held->shard_key = assign.shard_key();
  held->shard_rank = assign.rank();
  held->settings = settings_of(assign);
  held->kv_bytes = kv_bytes;
  TRY_ASSIGN(Model::Options options, model_options(checkpoint, assign));
  options.load.num_threads = config.load_threads;
  TRY_ASSIGN(held->ops, backend.make_ops(assign.mode()));
  TRY_ASSIGN(options.num_pages,
             pages_of(assign, checkpoint.config(), options, kv_bytes, *held->ops));
  options.load.bytes_total =
      resident_weight_bytes(checkpoint.config(), options.plan, assign.rank());
  log_info("model_loads", {{"folder", assign.model_folder()},
                           {"rank", assign.rank()},
                           {"tp", assign.tp()},
                           {"bytes", options.load.bytes_total},
                           {"full_pages", options.num_pages[kFull]},
                           {"window_pages", options.num_pages[kWindow]}});
  TRY_ASSIGN(held->model, Model::create(checkpoint, *held->ops, options));
  const int32_t vocab_limit =
      assign.vocab_limit() > 0 ? assign.vocab_limit() : checkpoint.config().vocab;
  held->rules = make_rules(checkpoint, vocab_limit, assign.rank() == 0);
  return held;
}

}  // namespace mimo::node
