#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "checkpoint/checkpoint.h"
#include "checkpoint/model_config.h"
#include "cli/commands.h"
#include "node/model/memory_plan.h"
#include "parallel/shard.h"
#include "parallel/shard_bytes.h"

namespace mimo::cli {
namespace {

using checkpoint::ModelConfig;
using kvcache::KvKind;
using nlohmann::ordered_json;

constexpr const char* kReleased = "mimo-v2-flash";
constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;

Result<ModelConfig> load_config(const std::string& model) {
  if (model == kReleased) return checkpoint::released_model_config();
  TRY_ASSIGN(const auto opened, checkpoint::Checkpoint::open(model));
  return opened->config();
}

Result<parallel::ShardPlan> load_shards(const PlanOptions& options, const ModelConfig& config) {
  parallel::ShardOptions shards;
  shards.tp = options.tp;
  if (!options.experts.empty()) {
    shards.experts = options.experts == "whole" ? parallel::ExpertPlacement::kWhole
                                                : parallel::ExpertPlacement::kColumns;
  }
  return parallel::plan_shards(config, shards);
}

ordered_json range_json(const parallel::Range& range) {
  return ordered_json::array({range.begin, range.end});
}

ordered_json rank_json(const ModelConfig& config, const parallel::ShardPlan& plan, int32_t rank) {
  const parallel::RankShard shard = parallel::rank_shard(config, plan, rank);
  const parallel::RankBytes bytes = parallel::rank_bytes(config, plan, rank);
  ordered_json json;
  json["rank"] = rank;
  json["full_q_heads"] = range_json(shard.full.q_heads);
  json["full_kv_heads"] = range_json(shard.full.kv_heads);
  json["window_q_heads"] = range_json(shard.window.q_heads);
  json["window_kv_heads"] = range_json(shard.window.kv_heads);
  json["experts"] = range_json(shard.experts);
  json["expert_columns"] = range_json(shard.expert_cols);
  json["dense_columns"] = range_json(shard.dense_cols);
  json["vocabulary_rows"] = range_json(shard.vocab_rows);
  json["weight_bytes"] = {{"experts", bytes.experts},
                          {"qkv", bytes.qkv},
                          {"o_proj", bytes.o_proj},
                          {"dense_ffn", bytes.dense_ffn},
                          {"embedding", bytes.embedding},
                          {"head", bytes.head},
                          {"routers", bytes.routers},
                          {"norms_and_sinks", bytes.norms_and_sinks},
                          {"mtp", bytes.mtp},
                          {"total", bytes.total()}};
  return json;
}

ordered_json group_json(const node::MemoryPlan& memory, KvKind kind, const PlanOptions& options,
                        int32_t positions_max) {
  const auto index = static_cast<size_t>(kind);
  const kvcache::KvSpec& spec = memory.specs[index];
  const int32_t context = std::min(options.context, positions_max);
  // While it decodes; a sequence that reads its prompt holds a chunk's pages more in the window
  // group.
  const int32_t pages_each = node::pages_per_sequence(spec, /*chunk_tokens=*/1, context);
  ordered_json json;
  json["layers"] = spec.num_layers;
  json["kv_heads"] = spec.kv_heads;
  json["k_dim"] = spec.k_dim;
  json["v_dim"] = spec.v_dim;
  json["window"] = spec.window;
  json["page_tokens"] = spec.page_tokens;
  json["k_bytes_per_page"] = spec.k_bytes_per_page();
  json["v_bytes_per_page"] = spec.v_bytes_per_page();
  json["k_bytes_per_token"] = spec.k_bytes_per_page() / spec.page_tokens;
  json["v_bytes_per_token"] = spec.v_bytes_per_page() / spec.page_tokens;
  json["pages"] = memory.num_pages[index];
  json["k_bytes"] = memory.num_pages[index] * spec.k_bytes_per_page();
  json["v_bytes"] = memory.num_pages[index] * spec.v_bytes_per_page();
  json["pages_a_sequence"] = pages_each;
  json["sequences_that_fit"] = pages_each == 0 ? 0 : memory.num_pages[index] / pages_each;
  return json;
}

Result<node::MemoryPlan> load_memory(const PlanOptions& options, const ModelConfig& config,
                                     const parallel::ShardPlan& plan, int64_t weight_bytes) {
  node::MemoryOptions memory;
  memory.limits.tokens_max = options.batch_tokens_max;
  memory.limits.sequences_max = options.sequences_max;
  memory.limits.logits_rows_max = options.sequences_max;
  memory.limits.prefill_chunk_max = options.prefill_chunk_max;
  memory.limits.positions_max = config.max_positions;
  memory.limits.page_tokens = options.page_tokens;
  const auto device = static_cast<int64_t>(options.device_gb * kGiB * options.memory_fraction);
  const parallel::RankShard shard = parallel::rank_shard(config, plan, 0);
  const int64_t workspace =
      node::step_buffer_sizes(config, plan, shard, memory.limits, DType::kBf16).total();
  memory.kv_budget_bytes = device - weight_bytes - workspace;
  if (memory.kv_budget_bytes <= 0) {
    return Error{Code::kResourceExhausted, std::to_string(weight_bytes) + " bytes of weights and " +
                                               std::to_string(workspace) +
                                               " of workspace do not fit the " +
                                               std::to_string(device) + " that a rank may take"};
  }
  return node::plan_memory(config, plan, memory);
}

Result<ordered_json> make_plan(const PlanOptions& options) {
  TRY_ASSIGN(const ModelConfig config, load_config(options.model));
  TRY_ASSIGN(const parallel::ShardPlan plan, load_shards(options, config));
  ordered_json json;
  json["model"] = options.model;
  json["tp"] = plan.tp;
  json["experts"] = plan.experts == parallel::ExpertPlacement::kWhole ? "whole" : "columns";
  json["dense_ffn"] = plan.dense_replicated ? "replicated" : "columns";
  json["full_kv_replicas"] = plan.full_kv_replicas;
  json["window_kv_replicas"] = plan.window_kv_replicas;
  json["notes"] = plan.notes;
  int64_t most_bytes = 0;
  for (int32_t rank = 0; rank < plan.tp; ++rank) {
    json["ranks"].push_back(rank_json(config, plan, rank));
    most_bytes = std::max(most_bytes, parallel::rank_bytes(config, plan, rank).total());
  }
  TRY_ASSIGN(const node::MemoryPlan memory, load_memory(options, config, plan, most_bytes));
  json["memory"] = {{"device_bytes", static_cast<int64_t>(options.device_gb * kGiB)},
                    {"fraction", options.memory_fraction},
                    {"weights", most_bytes},
                    {"workspace", memory.workspace_bytes},
                    {"k", memory.k_bytes},
                    {"v", memory.v_bytes}};
  json["context"] = std::min(options.context, config.max_positions);
  for (const KvKind kind : {KvKind::kFull, KvKind::kWindow}) {
    if (memory.specs[static_cast<size_t>(kind)].num_layers == 0) continue;
    json["kv"][kvcache::kv_kind_name(kind)] =
        group_json(memory, kind, options, config.max_positions);
  }
  int64_t fit = options.sequences_max;
  for (const auto& group : json["kv"]) {
    fit = std::min(fit, group["sequences_that_fit"].get<int64_t>());
  }
  json["sequences_that_fit"] = fit;
  return json;
}

void print_ranks(const ordered_json& json) {
  std::printf("%-5s %-11s %-9s %-11s %-9s %-11s %-12s %-13s %-15s %s\n", "rank", "full q",
              "full kv", "window q", "win. kv", "experts", "exp. cols", "dense cols", "vocabulary",
              "weights GB");
  const auto text = [](const ordered_json& range) {
    return std::to_string(range[0].get<int>()) + ".." + std::to_string(range[1].get<int>() - 1);
  };
  for (const auto& rank : json["ranks"]) {
    std::printf("%-5d %-11s %-9s %-11s %-9s %-11s %-12s %-13s %-15s %.3f\n",
                rank["rank"].get<int>(), text(rank["full_q_heads"]).c_str(),
                text(rank["full_kv_heads"]).c_str(), text(rank["window_q_heads"]).c_str(),
                text(rank["window_kv_heads"]).c_str(), text(rank["experts"]).c_str(),
                text(rank["expert_columns"]).c_str(), text(rank["dense_columns"]).c_str(),
                text(rank["vocabulary_rows"]).c_str(),
                rank["weight_bytes"]["total"].get<double>() / 1e9);
  }
}

void print_bytes(const ordered_json& json) {
  std::printf("\nweights of rank 0, bytes\n");
  for (const auto& [part, bytes] : json["ranks"][0]["weight_bytes"].items()) {
    std::printf("  %-16s %18" PRId64 "\n", part.c_str(), bytes.get<int64_t>());
  }
  std::printf("\nmemory of the fullest rank, bytes\n");
  for (const auto& [purpose, bytes] : json["memory"].items()) {
    if (purpose == "fraction") continue;
    std::printf("  %-16s %18" PRId64 "\n", purpose.c_str(), bytes.get<int64_t>());
  }
  std::printf("\n%-8s %7s %9s %13s %13s %9s %15s %15s %10s %9s\n", "kv group", "layers", "kv heads",
              "K B/token", "V B/token", "pages", "K bytes", "V bytes", "pages/seq", "seqs fit");
  for (const auto& [name, g] : json["kv"].items()) {
    std::printf("%-8s %7d %9d %13" PRId64 " %13" PRId64 " %9d %15" PRId64 " %15" PRId64
                " %10d %9d\n",
                name.c_str(), g["layers"].get<int>(), g["kv_heads"].get<int>(),
                g["k_bytes_per_token"].get<int64_t>(), g["v_bytes_per_token"].get<int64_t>(),
                g["pages"].get<int>(), g["k_bytes"].get<int64_t>(), g["v_bytes"].get<int64_t>(),
                g["pages_a_sequence"].get<int>(), g["sequences_that_fit"].get<int>());
  }
  std::printf("\n%" PRId64 " sequences of %d tokens fit at once\n",
              json["sequences_that_fit"].get<int64_t>(), json["context"].get<int>());
}

}  // namespace

int run_plan(const PlanOptions& options) {
  const auto plan = make_plan(options);
  if (!plan.ok()) return fail(plan.error());
  const ordered_json& json = plan.value();
  if (options.json) {
    // A path need not be UTF-8.
    const auto replace = ordered_json::error_handler_t::replace;
    std::printf("%s\n", json.dump(1, ' ', false, replace).c_str());
    return 0;
  }
  std::printf("%s at tp %d: experts %s, dense FFN %s, kv heads held %dx (full) and %dx (window)\n",
              json["model"].get<std::string>().c_str(), json["tp"].get<int>(),
              json["experts"].get<std::string>().c_str(),
              json["dense_ffn"].get<std::string>().c_str(), json["full_kv_replicas"].get<int>(),
              json["window_kv_replicas"].get<int>());
  for (const auto& note : json["notes"]) std::printf("  %s\n", note.get<std::string>().c_str());
  std::printf("\n");
  print_ranks(json);
  print_bytes(json);
  return 0;
}

}  // namespace mimo::cli
