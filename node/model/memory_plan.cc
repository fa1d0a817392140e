#include "node/model/memory_plan.h"

#include <algorithm>
#include <cstdio>

#include "parallel/shard_bytes.h"

namespace mimo::node {
namespace {

using kvcache::KvKind;
using kvcache::KvSpec;

constexpr auto kFull = static_cast<size_t>(KvKind::kFull);
constexpr auto kWindow = static_cast<size_t>(KvKind::kWindow);

// The most pages that all sequences can hold at once in the window group. Every sequence holds its
// window; the rows of a step are shared, so the chunks' pages beyond it are bounded by the step's
// rows as well as by each sequence's chunk.
int64_t window_pages_max(const KvSpec& spec, const ModelLimits& limits) {
  const int64_t sequences = limits.sequences_max;
  const int64_t each = pages_per_sequence(spec, limits.prefill_chunk_max, limits.positions_max);
  const int64_t resting = pages_per_sequence(spec, 1, limits.positions_max);
  const int64_t crossing = sequences + spec.pages_for(limits.tokens_max);
  return std::min(sequences * each, sequences * resting + crossing);
}

int64_t full_pages_max(const KvSpec& spec, const ModelLimits& limits) {
  return int64_t{limits.sequences_max} * spec.pages_for(limits.positions_max);
}

Error too_small(const KvSpec& spec, int64_t needed, int64_t budget) {
  return {Code::kResourceExhausted,
          std::string("the ") + kvcache::kv_kind_name(spec.kind) + " layers' pages need at least " +
              std::to_string(needed) + " bytes (" + std::to_string(spec.bytes_per_page()) +
              " a page), but of the KV budget " + std::to_string(budget) + " are left for them"};
}

Result<void> plan_pages(MemoryPlan& plan, const ModelLimits& limits) {
  const KvSpec& full = plan.specs[kFull];
  const KvSpec& window = plan.specs[kWindow];
  int64_t left = plan.kv_budget_bytes;
  if (window.num_layers > 0) {
    const int64_t share = full.num_layers > 0 ? left / 2 : left;
    const int64_t needed =
        pages_per_sequence(window, limits.prefill_chunk_max, limits.positions_max);
    const int64_t pages =
        std::min(window_pages_max(window, limits), share / window.bytes_per_page());
    if (pages < needed) return too_small(window, needed * window.bytes_per_page(), share);
    plan.num_pages[kWindow] = static_cast<int32_t>(pages);
    plan.longest_sequences[kWindow] =
        static_cast<int32_t>(std::min<int64_t>(pages / needed, limits.sequences_max));
    left -= pages * window.bytes_per_page();
  }
  if (full.num_layers > 0) {
    const int64_t pages = std::min(full_pages_max(full, limits), left / full.bytes_per_page());
    if (pages < 1) return too_small(full, full.bytes_per_page(), left);
    plan.num_pages[kFull] = static_cast<int32_t>(pages);
    plan.longest_sequences[kFull] =
        static_cast<int32_t>(pages / full.pages_for(limits.positions_max));
  }
  return {};
}

std::string line(const std::string& purpose, int64_t bytes, const std::string& what) {
  char text[160];
  std::snprintf(text, sizeof text, "%-10s %15lld B %9.3f GiB  %s\n", purpose.c_str(),
                static_cast<long long>(bytes), static_cast<double>(bytes) / (1 << 30),
                what.c_str());
  return text;
}

std::string pool_text(const MemoryPlan& plan, size_t kind) {
  const KvSpec& spec = plan.specs[kind];
  return std::to_string(plan.num_pages[kind]) + " pages of " + std::to_string(spec.page_tokens) +
         " tokens, " + std::to_string(spec.num_layers) + " layers, " +
         std::to_string(spec.kv_heads) + " heads";
}

}  // namespace

int64_t resident_weight_bytes(const checkpoint::ModelConfig& config,
                              const parallel::ShardPlan& plan, int32_t rank) {
  const parallel::RankBytes bytes = parallel::rank_bytes(config, plan, rank);
  return bytes.total() - bytes.mtp;
}

Result<MemoryPlan> plan_memory(const checkpoint::ModelConfig& config,
                               const parallel::ShardPlan& shards, const MemoryOptions& options) {
  TRY(options.limits.validate(config));
  if (options.kv_budget_bytes < 1) {
    return invalid_argument("kv_budget_bytes is " + std::to_string(options.kv_budget_bytes) +
                            ", expected at least 1");
  }
  MemoryPlan plan;
  const parallel::RankShard shard = parallel::rank_shard(config, shards, 0);
  plan.kv_budget_bytes = options.kv_budget_bytes;
  for (int32_t rank = 0; rank < shards.tp; ++rank) {
    plan.weight_bytes = std::max(plan.weight_bytes, resident_weight_bytes(config, shards, rank));
  }
  plan.workspace_bytes = step_buffer_sizes(config, shards, shard, options.limits,
                                           options.activation, options.decode_rows_max)
                             .total();
  plan.specs =
      kv_specs(config, shard, options.limits.page_tokens, options.k_dtype, options.v_dtype);
  TRY(plan_pages(plan, options.limits));
  for (size_t kind = 0; kind < plan.specs.size(); ++kind) {
    plan.k_bytes += plan.specs[kind].k_bytes_per_page() * plan.num_pages[kind];
    plan.v_bytes += plan.specs[kind].v_bytes_per_page() * plan.num_pages[kind];
  }
  return plan;
}

std::string to_string(const MemoryPlan& plan) {
  std::string text = line("weights", plan.weight_bytes, "as the checkpoint stores them");
  text += line("workspace", plan.workspace_bytes, "step buffers; the backend's own come on top");
  for (size_t kind = 0; kind < plan.specs.size(); ++kind) {
    const KvSpec& spec = plan.specs[kind];
    if (spec.num_layers == 0) continue;
    const std::string name = kvcache::kv_kind_name(spec.kind);
    const int64_t pages = plan.num_pages[kind];
    text += line("k " + name, spec.k_bytes_per_page() * pages, pool_text(plan, kind));
    text += line("v " + name, spec.v_bytes_per_page() * pages,
                 std::to_string(plan.longest_sequences[kind]) + " sequences of full length fit");
  }
  const int64_t total = plan.weight_bytes + plan.workspace_bytes + plan.k_bytes + plan.v_bytes;
  return text + line("all", total, "");
}

}  // namespace mimo::node
