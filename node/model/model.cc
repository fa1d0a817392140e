#include "node/model/model.h"

#include <cmath>
#include <string>
#include <utility>

#include "node/model/memory_plan.h"

namespace mimo::node {
namespace {

using checkpoint::AttentionKind;
using checkpoint::AttentionShape;
using kernels::Purpose;
using kvcache::KvKind;

template <typename T>
Result<void> allocate_into(kernels::Ops& ops, int64_t bytes, Purpose purpose, T*& to) {
  TRY_ASSIGN(void* const memory, ops.allocate(bytes, purpose));
  to = static_cast<T*>(memory);
  return {};
}

Result<void> check_pages(const KvSpecs& specs, const Model::Options& options) {
  for (const kvcache::KvSpec& spec : specs) {
    if (spec.num_layers == 0) continue;
    TRY(spec.validate());
    const int32_t num_pages = options.num_pages[static_cast<size_t>(spec.kind)];
    if (num_pages < 1) {
      return invalid_argument(std::string("num_pages of ") + kvcache::kv_kind_name(spec.kind) +
                              " layers is " + std::to_string(num_pages) + ", expected at least 1");
    }
  }
  return {};
}

}  // namespace

Model::Model(const checkpoint::ModelConfig& config, kernels::Ops& ops, const Options& options)
    : config_(config),
      ops_(ops),
      options_(options),
      shard_(parallel::rank_shard(config, options.plan, options.rank)),
      specs_(node::kv_specs(config, shard_, options.limits.page_tokens,
                            options.k_dtype.value_or(ops.cache_dtype()),
                            options.v_dtype.value_or(ops.cache_dtype()))),
      runs_max_(
          std::max(options.limits.sequences_max, ops.padded_rows(options.limits.sequences_max))) {
  std::array<int32_t, kvcache::kNumKvKinds> num_layers = {0, 0};
  for (const AttentionKind kind : config.attention) {
    group_layer_.push_back(num_layers[static_cast<size_t>(kv_kind(kind))]++);
  }
}

Result<std::unique_ptr<Model>> Model::create(const checkpoint::Checkpoint& checkpoint,
                                             kernels::Ops& ops, const Options& options) {
  LoadOptions load = options.load;
  const auto loader = [&](const parallel::RankShard& shard, kernels::Ops& to) {
    load.bytes_total = resident_weight_bytes(checkpoint.config(), options.plan, options.rank);
    return load_weights(checkpoint, shard, to, load);
  };
  return create(checkpoint.config(), ops, options, loader);
}

Result<std::unique_ptr<Model>> Model::create(const checkpoint::ModelConfig& config,
                                             kernels::Ops& ops, const Options& options,
                                             const WeightLoader& load_weights) {
  TRY(options.limits.validate(config));
  if (options.rank < 0 || options.rank >= options.plan.tp) {
    return invalid_argument("rank is " + std::to_string(options.rank) + ", expected 0 to " +
                            std::to_string(options.plan.tp - 1));
  }
  std::unique_ptr<Model> model(new Model(config, ops, options));
  TRY(check_pages(model->specs_, options));
  // The pools first: what does not fit is found before minutes of loading.
  TRY(model->allocate());
  TRY(model->allocate_pools());
  TRY_ASSIGN(model->weights_, load_weights(model->shard_, ops));
  TRY(ops.prepare(
      ops_limits(config, options.plan, model->shard_, options.limits, model->runs_max_)));
  return model;
}

StepBufferSizes Model::buffer_sizes() const {
  return step_buffer_sizes(config_, options_.plan, shard_, options_.limits, ops_.activation_dtype(),
                           runs_max_);
}

Result<void> Model::allocate() {
  const StepBufferSizes sizes = buffer_sizes();
  const Purpose purpose = Purpose::kWorkspace;
  TRY(allocate_into(ops_, sizes.hidden_rows, purpose, buffers_.residual));
  TRY(allocate_into(ops_, sizes.hidden_rows, purpose, buffers_.spare));
  TRY(allocate_into(ops_, sizes.hidden_rows, purpose, buffers_.delta));
  TRY_ASSIGN(buffers_.normed, ops_.allocate_rows(rows_max(), config_.hidden));
  TRY(allocate_into(ops_, sizes.q, purpose, buffers_.q));
  TRY(allocate_into(ops_, sizes.attention, purpose, buffers_.attention));
  TRY(allocate_into(ops_, sizes.expert_ids, purpose, buffers_.expert_ids));
  TRY(allocate_into(ops_, sizes.expert_weights, purpose, buffers_.expert_weights));
  TRY(allocate_into(ops_, sizes.logits_hidden, purpose, buffers_.logits_hidden));
  TRY(allocate_into(ops_, sizes.logits, purpose, buffers_.logits));
  return allocate_tables(sizes.page_tables);
}

Result<void> Model::allocate_tables(int64_t bytes) {
  TRY(allocate_into(ops_, bytes, Purpose::kWorkspace, tables_.entries));
  int64_t num_entries = 0;
  for (const kvcache::KvSpec& spec : specs_) {
    if (spec.num_layers == 0) continue;
    PageTables::Group& group = tables_.groups[static_cast<size_t>(spec.kind)];
    group.begin = num_entries;
    group.stride = page_table_stride(spec, options_.limits);
    num_entries += int64_t{options_.limits.sequences_max} * group.stride;
  }
  CHECK_LE(num_entries, int64_t{INT32_MAX});
  CHECK_EQ(bytes, (num_entries + options_.limits.sequences_max) * int64_t{sizeof(int32_t)});
  last_tokens_ = tables_.entries + num_entries;
  return {};
}

Result<void> Model::allocate_pools() {
  for (const kvcache::KvSpec& spec : specs_) {
    if (spec.num_layers == 0) continue;
    const auto kind = static_cast<size_t>(spec.kind);
    const int64_t num_pages = options_.num_pages[kind];
    TRY(allocate_into(ops_, spec.k_bytes_per_page() * num_pages, Purpose::kK, pools_[kind].k));
    TRY(allocate_into(ops_, spec.v_bytes_per_page() * num_pages, Purpose::kV, pools_[kind].v));
  }
  return {};
}

kernels::PagedKv Model::paged_kv(KvKind kind, int32_t group_layer) const {
  const auto index = static_cast<size_t>(kind);
  const kvcache::KvSpec& spec = specs_[index];
  const int64_t first = int64_t{group_layer} * options_.num_pages[index];
  kernels::PagedKv kv;
  kv.k = pools_[index].k + first * spec.k_page_bytes();
  kv.v = pools_[index].v + first * spec.v_page_bytes();
  kv.k_dtype = spec.k_dtype;
  kv.v_dtype = spec.v_dtype;
  kv.kv_heads = spec.kv_heads;
  kv.k_dim = spec.k_dim;
  kv.v_dim = spec.v_dim;
  kv.page_tokens = spec.page_tokens;
  kv.pages = tables_.entries + tables_.groups[index].begin;
  kv.stride = tables_.groups[index].stride;
  return kv;
}

void Model::norm(const float* weight, bool add_delta, int32_t num_tokens) {
  ops_.add_norm({.residual = buffers_.residual,
                 .delta = add_delta ? buffers_.delta : nullptr,
                 .weight = weight,
                 .out = buffers_.normed,
                 .eps = config_.norm_eps,
                 .num_tokens = num_tokens,
                 .residual_out = add_delta ? buffers_.spare : nullptr});
  if (add_delta) std::swap(buffers_.residual, buffers_.spare);
}

void Model::attend(int32_t layer, const kernels::Runs& runs) {
  const AttentionKind kind = config_.attention[layer];
  const AttentionShape& shape = config_.attention_shape(kind);
  const LayerWeights& w = weights_.layers[layer];
  const int32_t num_q_heads = shard_.attention(kind).q_heads.size();
  const kernels::PagedKv kv = paged_kv(kv_kind(kind), group_layer_[layer]);
  ops_.qkv({.x = buffers_.normed,
            .qkv = w.qkv,
            .num_q_heads = num_q_heads,
            .rotary_dim = shape.rotary_dim,
            .rope_theta = shape.rope_theta,
            .value_scale = config_.value_scale,
            .runs = runs,
            .kv = kv,
            .q = buffers_.q});
  ops_.attention({.q = buffers_.q,
                  .num_q_heads = num_q_heads,
                  .runs = runs,
                  .kv = kv,
                  .window = shape.window,
                  .sinks = w.sinks,
                  .scale = 1.0f / std::sqrt(static_cast<float>(shape.k_dim)),
                  .out = buffers_.attention});
  ops_.linear({.x = buffers_.attention,
               .w = w.o_proj,
               .out = buffers_.delta,
               .out_f32 = false,
               .num_tokens = runs.num_tokens});
}

void Model::feed_forward(int32_t layer, const kernels::Runs& runs) {
  const int32_t num_tokens = runs.num_tokens;
  const LayerWeights& w = weights_.layers[layer];
  if (!config_.is_moe[layer]) {
    ops_.dense_ffn({.x = buffers_.normed,
                    .gate_up = w.gate_up,
                    .down = w.down,
                    .out = buffers_.delta,
                    .num_tokens = num_tokens});
    return;
  }
  ops_.route({.x = buffers_.normed.values,
              .weight = w.router,
              .bias = w.router_bias,
              .runs = runs,
              .hidden = config_.hidden,
              .num_experts = config_.num_experts,
              .experts_per_token = config_.experts_per_token,
              .num_groups = config_.num_expert_groups,
              .groups_per_token = config_.groups_per_token,
              .normalize = config_.normalize_weights,
              .scaling = config_.routed_scaling,
              .expert_ids = buffers_.expert_ids,
              .expert_weights = buffers_.expert_weights,
              .num_tokens = num_tokens,
              .experts = &w.experts});
  ops_.experts({.x = buffers_.normed,
                .experts = &w.experts,
                .expert_ids = buffers_.expert_ids,
                .expert_weights = buffers_.expert_weights,
                .experts_per_token = config_.experts_per_token,
                .out = buffers_.delta,
                .num_tokens = num_tokens});
}

Result<void> Model::reduce(void* rows, int32_t num_tokens, parallel::TpGroup& group) {
  return group.all_reduce(ops_.activation_dtype(), rows, int64_t{num_tokens} * config_.hidden,
                          ops_.stream());
}

Result<void> Model::forward(const StepRows& rows, parallel::TpGroup& group) {
  CHECK_EQ(group.size(), options_.plan.tp);
  CHECK_EQ(group.rank(), options_.rank);
  const int32_t num_tokens = rows.runs.num_tokens;
  CHECK_LE(num_tokens, rows_max());
  CHECK_LE(rows.runs.num_runs, runs_max());
  ops_.embed({.ids = rows.ids,
              .last_tokens = last_tokens_,
              .table = weights_.embedding,
              .vocab_begin = shard_.vocab_rows.begin,
              .out = buffers_.residual,
              .num_tokens = num_tokens});
  TRY(reduce(buffers_.residual, num_tokens, group));
  for (int32_t layer = 0; layer < config_.num_layers; ++layer) {
    norm(weights_.layers[layer].input_norm, layer > 0, num_tokens);
    attend(layer, rows.runs);
    TRY(reduce(buffers_.delta, num_tokens, group));
    norm(weights_.layers[layer].ffn_norm, true, num_tokens);
    feed_forward(layer, rows.runs);
    // Where the dense FFN is replicated every rank holds the whole sum already.
    if (config_.is_moe[layer] || !options_.plan.dense_replicated) {
      TRY(reduce(buffers_.delta, num_tokens, group));
    }
  }
  norm(weights_.final_norm, true, num_tokens);
  return {};
}

Result<Logits> Model::logits(const int32_t* rows, int32_t num_rows, parallel::TpGroup& group) {
  CHECK_LE(num_rows, options_.limits.logits_rows_max);
  ops_.gather_rows({.in = buffers_.normed.values,
                    .rows = rows,
                    .out = buffers_.logits_hidden,
                    .num_rows = num_rows,
                    .cols = config_.hidden});
  const int64_t shard_values = int64_t{num_rows} * options_.plan.vocab_rows;
  float* const own = buffers_.logits + options_.rank * shard_values;
  ops_.linear({.x = buffers_.logits_hidden,
               .w = weights_.head,
               .out = own,
               .out_f32 = true,
               .num_tokens = num_rows});
  TRY(group.all_gather(own, buffers_.logits, shard_values * int64_t{sizeof(float)}, ops_.stream()));
  return Logits{buffers_.logits, options_.plan.tp, num_rows, options_.plan.vocab_rows};
}

}  // namespace mimo::node
