#include "node/model/kv_layout.h"

#include <algorithm>

namespace mimo::node {
namespace {

using checkpoint::AttentionKind;
using kvcache::KvKind;

}  // namespace

KvSpecs kv_specs(const checkpoint::ModelConfig& config, const parallel::RankShard& shard,
                 int32_t page_tokens, DType k_dtype, DType v_dtype) {
  KvSpecs specs;
  for (const AttentionKind kind : {AttentionKind::kFull, AttentionKind::kWindow}) {
    const checkpoint::AttentionShape& shape = config.attention_shape(kind);
    kvcache::KvSpec& spec = specs[static_cast<size_t>(kv_kind(kind))];
    spec.kind = kv_kind(kind);
    spec.num_layers = config.num_layers_of(kind);
    spec.kv_heads = shard.attention(kind).kv_heads.size();
    spec.k_dim = shape.k_dim;
    spec.v_dim = shape.v_dim;
    spec.k_dtype = k_dtype;
    spec.v_dtype = v_dtype;
    spec.page_tokens = page_tokens;
    spec.window = shape.window;
  }
  return specs;
}

int32_t pages_per_sequence(const kvcache::KvSpec& spec, int32_t chunk_tokens,
                           int32_t positions_max) {
  const int32_t all = spec.pages_for(positions_max);
  if (spec.window == 0) return all;
  // A chunk's first row still reads window - 1 tokens before it; n tokens that begin anywhere touch
  // at most ceil((n - 1) / page) + 1 pages.
  const int32_t tokens = spec.window - 1 + std::max(chunk_tokens, 1);
  return std::min(all, spec.pages_for(tokens - 1) + 1);
}

}  // namespace mimo::node
