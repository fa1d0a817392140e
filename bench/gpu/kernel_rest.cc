#include "bench/gpu/kernel_world.h"

namespace mimo::bench {
namespace {

void bench_add_norm(KernelWorld& world, const RankShape& shape) {
  const float* const weight = world.ops().random_floats(shape.hidden, 1.0f, 3).value();
  for (const int32_t num_tokens : {1, 16, 64, 256, 8192}) {
    const int64_t size = int64_t{num_tokens} * shape.hidden;
    const double bytes = size * (2.0 + 2 + 2 + 2 + 1);
    void* const residual = world.array<uint16_t>(size);
    void* const delta = world.array<uint16_t>(size);
    world.ops().fill_normal_bf16(residual, size, 1.0f, 1);
    world.ops().fill_normal_bf16(delta, size, 1e-3f, 2);
    const kernels::Rows out = world.ops().allocate_rows(num_tokens, shape.hidden).value();
    world.time({.op = "add_norm",
                .shape = "4096, with e4m3 copy",
                .tp = shape.tp,
                .num_tokens = num_tokens,
                .bytes = bytes},
               20, [&](int32_t) {
                 world.ops().add_norm({.residual = residual,
                                       .delta = delta,
                                       .weight = weight,
                                       .out = out,
                                       .eps = 1e-5f,
                                       .num_tokens = num_tokens});
               });
  }
}

// The experts whose products ask the router for their tile list.
kernels::ExpertWeights narrow_experts(KernelWorld& world, const RankShape& shape, int32_t count) {
  kernels::ExpertWeights out;
  out.gate_up =
      world.ops().random_stack({count, DType::kF8E4m3, 256, shape.hidden, 128}, 60).value();
  out.down = world.ops().random_stack({count, DType::kF8E4m3, shape.hidden, 128, 128}, 61).value();
  return out;
}

// With the tile list that the experts' products want, where they want one.
void bench_route(KernelWorld& world, const RankShape& shape) {
  constexpr int32_t kExperts = 256;
  constexpr int32_t kSets = 48;  // 4.2 MB each
  std::vector<const float*> weights;
  for (int32_t i = 0; i < kSets; ++i) {
    weights.push_back(
        world.ops().random_floats(int64_t{kExperts} * shape.hidden, 0.02f, 50 + i).value());
  }
  const float* const bias = world.ops().random_floats(kExperts, 0.01f, 4).value();
  const kernels::ExpertWeights experts = narrow_experts(world, shape, kExperts);
  for (const int32_t num_tokens : {1, 16, 64, 256, 8192}) {
    const kernels::Rows x = world.normal_rows(num_tokens, shape.hidden);
    int32_t* const ids = world.array<int32_t>(int64_t{num_tokens} * 8);
    float* const out = world.array<float>(int64_t{num_tokens} * 8);
    const auto route = [&](int32_t i) {
      world.ops().route({.x = x.values,
                         .weight = weights[static_cast<size_t>(i)],
                         .bias = bias,
                         .hidden = shape.hidden,
                         .num_experts = kExperts,
                         .experts_per_token = 8,
                         .expert_ids = ids,
                         .expert_weights = out,
                         .num_tokens = num_tokens});
    };
    route(0);
    world.ops().experts({.x = x,
                         .experts = &experts,
                         .expert_ids = ids,
                         .expert_weights = out,
                         .experts_per_token = 8,
                         .out = world.array<uint16_t>(int64_t{num_tokens} * shape.hidden),
                         .num_tokens = num_tokens});
    world.time({.op = "route",
                .shape = "256x4096 f32, top 8, tile list",
                .tp = shape.tp,
                .num_tokens = num_tokens,
                .bytes = 4.0 * kExperts * shape.hidden + 2.0 * num_tokens * shape.hidden,
                .flops = 2.0 * kExperts * shape.hidden * num_tokens,
                .roof_flops = 67e12},
               num_tokens > 1024 ? 8 : kSets, route);
  }
}

void bench_sample(KernelWorld& world, const RankShape& shape) {
  constexpr int32_t kVocab = 152576;
  constexpr int32_t kSlots = 256;
  world.ops().clear_sampler(0);
  const float* const logits = world.ops().random_floats(int64_t{kSlots} * kVocab, 3.0f, 8).value();
  std::vector<int32_t> order(kSlots);
  for (int32_t i = 0; i < kSlots; ++i) order[static_cast<size_t>(i)] = i;
  const int32_t* const rows = world.upload(order);
  auto* const results = world.array<kernels::DrawResult>(kSlots);
  int32_t* const last = world.array<int32_t>(kSlots);
  for (const bool greedy : {true, false}) {
    for (int32_t i = 0; i < kSlots; ++i) {
      kernels::SamplingParams params;
      params.temperature = greedy ? 0.0f : 0.8f;
      params.top_p = greedy ? 1.0f : 0.95f;
      params.top_k = greedy ? 0 : 50;
      params.seed = static_cast<uint64_t>(i);
      world.ops().set_sampler(i, {params, {}, 0});
    }
    for (const int32_t num_tokens : {1, 16, 64, 256}) {
      world.time({.op = "sample",
                  .shape = greedy ? "greedy, 152576" : "top_k 50, top_p 0.95",
                  .tp = shape.tp,
                  .num_tokens = num_tokens,
                  .bytes = 4.0 * kVocab * num_tokens},
                 8, [&](int32_t) {
                   world.ops().sample({.logits = logits,
                                       .num_shards = 1,
                                       .shard_cols = kVocab,
                                       .vocab_limit = kVocab,
                                       .num_rows = kSlots,
                                       .rows = rows,
                                       .slots = rows,
                                       .positions = rows,
                                       .num_draws = num_tokens,
                                       .plain_greedy = greedy,
                                       .last_tokens = last,
                                       .results = results});
                 });
    }
  }
}

}  // namespace

void bench_rest(KernelWorld& world, const RankShape& shape) {
  if (world.wants("add_norm")) bench_add_norm(world, shape);
  if (world.wants("route")) bench_route(world, shape);
  if (shape.tp == 4 && world.wants("sample")) bench_sample(world, shape);
}

}  // namespace mimo::bench
