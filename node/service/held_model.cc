#include "node/service/held_model.h"

#include <cstdio>
#include <utility>

#include "base/log.h"
#include "node/model/memory_plan.h"

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

Result<kernels::CpuMode> cpu_mode(const std::string& mode) {
  if (mode == "f32") return kernels::CpuMode::kF32;
  if (mode == "device") return kernels::CpuMode::kDevice;
  return invalid_argument("mode \"" + mode + "\"; expected f32 or device");
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

// Explicit counts win over what the budget would buy.
Result<std::array<int32_t, kvcache::kNumKvKinds>> pages_of(const v1::AssignRank& assign,
                                                           const checkpoint::ModelConfig& config,
                                                           const Model::Options& options,
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
  memory.kv_budget_bytes = assign.kv_bytes();
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

Result<std::unique_ptr<HeldModel>> load_model(const checkpoint::Checkpoint& checkpoint,
                                              const v1::AssignRank& assign,
                                              const WorkerConfig& config) {
  kernels::CpuOptions cpu;
  TRY_ASSIGN(cpu.mode, cpu_mode(assign.mode()));
  cpu.num_threads = config.threads;
  cpu.memory_bytes_max = config.memory_bytes_max;
  TRY_ASSIGN(const parallel::ExpertPlacement placement, experts(assign.experts()));

  auto held = std::make_unique<HeldModel>();
  held->shard_key = assign.shard_key();
  held->shard_rank = assign.rank();
  held->settings = settings_of(assign);
  TRY_ASSIGN(held->ops, kernels::make_cpu_ops(cpu));

  Model::Options options;
  options.rank = assign.rank();
  options.limits = limits_of(assign);
  options.load.num_threads = config.load_threads;
  TRY(options.limits.validate(checkpoint.config()));
  TRY_ASSIGN(options.plan,
             parallel::plan_shards(checkpoint.config(), {.tp = assign.tp(), .experts = placement}));
  TRY_ASSIGN(options.num_pages, pages_of(assign, checkpoint.config(), options, *held->ops));
  options.load.bytes_total =
      resident_weight_bytes(checkpoint.config(), options.plan, assign.rank());
  log_info("model_loads", {{"folder", assign.model_folder()},
                           {"rank", assign.rank()},
                           {"tp", assign.tp()},
                           {"bytes", options.load.bytes_total},
                           {"full_pages", options.num_pages[kFull]},
                           {"window_pages", options.num_pages[kWindow]}});
  TRY_ASSIGN(held->model, Model::create(checkpoint, *held->ops, options));
  return held;
}

}  // namespace mimo::node
