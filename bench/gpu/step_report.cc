#include "bench/gpu/step_report.h"

#include <algorithm>
#include <cmath>
#include <map>

namespace mimo::bench {
namespace {

using checkpoint::AttentionKind;
using checkpoint::ModelConfig;
using parallel::RankShard;

// Every layer begins with a norm and has another before its FFN; one more follows the last. Each is
// a kernel of its own or done by the one that reads it.
bool norms(const std::string& kernel) {
  return kernel.find("add_norm") != std::string::npos ||
         kernel.find("FoldedNorm") != std::string::npos;
}

double busy_experts(const ModelConfig& config, int32_t batch) {
  const double missed = 1.0 - static_cast<double>(config.experts_per_token) / config.num_experts;
  return config.num_experts * (1.0 - std::pow(missed, batch));
}

std::string kind_of(const ModelConfig& config, int32_t layer) {
  const auto index = static_cast<size_t>(layer);
  const bool full = config.attention[index] == AttentionKind::kFull;
  return std::string(full ? "full" : "window") + (config.is_moe[index] ? ", experts" : ", dense");
}

// A kernel's own part of the time line: what the one before it left, and how long nothing ran.
struct Own {
  double us = 0;
  double idle_us = 0;
};
std::vector<Own> own_times(const std::vector<KernelSpan>& step) {
  std::vector<Own> out;
  int64_t end_ns = step.empty() ? 0 : step.front().begin_ns;
  for (const KernelSpan& span : step) {
    const int64_t idle_ns = std::max<int64_t>(0, span.begin_ns - end_ns);
    const int64_t last_ns = std::max(end_ns, span.end_ns);
    out.push_back(
        {static_cast<double>(last_ns - end_ns) * 1e-3, static_cast<double>(idle_ns) * 1e-3});
    end_ns = last_ns;
  }
  return out;
}

}  // namespace

StepBytes layer_bytes(const ModelConfig& config, const RankShard& shard, int32_t layer,
                      int32_t batch, int32_t context) {
  const AttentionKind kind = config.attention[static_cast<size_t>(layer)];
  const checkpoint::AttentionShape& shape = config.attention_shape(kind);
  const parallel::AttentionShard& heads = shard.attention(kind);
  const double hidden = config.hidden;
  const double q_heads = heads.q_heads.size();
  const double kv_heads = heads.kv_heads.size();
  StepBytes out;
  out.attention = hidden * (q_heads * shape.k_dim + kv_heads * (shape.k_dim + shape.v_dim)) +
                  2 * hidden * q_heads * shape.v_dim;
  const double keys = shape.window > 0 ? std::min(context, shape.window) : context;
  out.kv = batch * keys * kv_heads * 2 * (shape.k_dim + shape.v_dim);
  if (config.is_moe[static_cast<size_t>(layer)]) {
    const double held = static_cast<double>(shard.experts.size()) / config.num_experts;
    out.ffn = 4 * hidden * config.num_experts +
              busy_experts(config, batch) * held * 3 * hidden * shard.expert_cols.size();
  } else {
    out.ffn = 3 * hidden * shard.dense_cols.size();
  }
  return out;
}

double head_bytes(const ModelConfig& config, const RankShard& shard) {
  return 2.0 * config.hidden * shard.vocab_rows.size();
}

double step_bytes(const ModelConfig& config, const RankShard& shard, int32_t batch,
                  int32_t context) {
  double bytes = head_bytes(config, shard);
  for (int32_t layer = 0; layer < config.num_layers; ++layer) {
    bytes += layer_bytes(config, shard, layer, batch, context).total();
  }
  return bytes;
}

Result<std::vector<LayerKindRow>> layer_kinds(const ModelConfig& config, const RankShard& shard,
                                              const std::vector<KernelSpan>& step, int32_t batch,
                                              int32_t context) {
  const std::vector<Own> own = own_times(step);
  std::vector<LayerKindRow> rows;
  const auto row_of = [&](const std::string& kind) -> LayerKindRow& {
    for (LayerKindRow& row : rows) {
      if (row.kind == kind) return row;
    }
    rows.push_back({.kind = kind});
    return rows.back();
  };
  int32_t num_norms = 0;
  for (size_t i = 0; i < step.size(); ++i) {
    const bool norm = norms(step[i].name);
    if (norm) ++num_norms;
    const int32_t layer = num_norms == 0 ? -1 : (num_norms - 1) / 2;
    const bool in_layers = layer >= 0 && layer < config.num_layers;
    LayerKindRow& row =
        row_of(layer < 0 ? "embedding" : (in_layers ? kind_of(config, layer) : "head, draw"));
    if (norm && in_layers && num_norms % 2 == 1) {
      ++row.num_layers;
      row.bytes += layer_bytes(config, shard, layer, batch, context).total();
    }
    row.us += own[i].us;
    row.idle_us += own[i].idle_us;
    row.launches += 1;
  }
  if (num_norms != 2 * config.num_layers + 1) {
    return internal_error("the trace has " + std::to_string(num_norms) + " norms, expected " +
                          std::to_string(2 * config.num_layers + 1));
  }
  for (LayerKindRow& row : rows) {
    if (row.kind == "head, draw") row.bytes = head_bytes(config, shard);
    if (row.num_layers == 0) row.num_layers = 1;
    for (double* mean : {&row.us, &row.idle_us, &row.launches, &row.bytes}) *mean /= row.num_layers;
  }
  return rows;
}

std::vector<KernelRow> by_kernel(const std::vector<KernelSpan>& step) {
  const std::vector<Own> own = own_times(step);
  std::map<std::string, KernelRow> by_name;
  for (size_t i = 0; i < step.size(); ++i) {
    KernelRow& row = by_name[step[i].name];
    row.name = step[i].name;
    ++row.count;
    row.us += own[i].us - own[i].idle_us;
  }
  std::vector<KernelRow> rows;
  for (auto& [name, row] : by_name) rows.push_back(row);
  std::sort(rows.begin(), rows.end(),
            [](const KernelRow& a, const KernelRow& b) { return a.us > b.us; });
  return rows;
}

}  // namespace mimo::bench
