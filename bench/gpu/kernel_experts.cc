#include <numeric>
#include <random>
#include <set>

#include "bench/gpu/kernel_world.h"

namespace mimo::bench {
namespace {

constexpr int32_t kExperts = 256;
constexpr int32_t kPerToken = 8;

struct Routing {
  std::vector<int32_t> ids;  // [T, 8]
  int32_t num_busy = 0;
};

// Eight different experts a token, uniformly.
Routing uniform_routing(int32_t num_tokens, uint32_t seed) {
  std::mt19937 generator(seed);
  std::vector<int32_t> all(kExperts);
  std::iota(all.begin(), all.end(), 0);
  Routing out;
  std::set<int32_t> busy;
  for (int32_t t = 0; t < num_tokens; ++t) {
    for (int32_t k = 0; k < kPerToken; ++k) {
      std::uniform_int_distribution<int32_t> pick(k, kExperts - 1);
      std::swap(all[static_cast<size_t>(k)], all[static_cast<size_t>(pick(generator))]);
      out.ids.push_back(all[static_cast<size_t>(k)]);
      busy.insert(all[static_cast<size_t>(k)]);
    }
  }
  out.num_busy = static_cast<int32_t>(busy.size());
  return out;
}

}  // namespace

// Both products of the experts with what lies between and around them: sorting, silu, quantising,
// the weighted sum. Each launch has another routing, so that few experts are cold too.
void bench_experts(KernelWorld& world, const RankShape& shape) {
  if (!world.wants("experts")) return;
  kernels::cuda::CudaOps& ops = world.ops();
  const int32_t cols = shape.expert_cols();
  kernels::ExpertWeights weights;
  weights.gate_up =
      ops.random_stack({kExperts, DType::kF8E4m3, 2 * cols, shape.hidden, 128}, 1).value();
  weights.down = ops.random_stack({kExperts, DType::kF8E4m3, shape.hidden, cols, 128}, 2).value();
  for (const int32_t num_tokens : {1, 2, 4, 8, 16, 32, 64, 128, 256, 8192}) {
    const kernels::Rows x = world.normal_rows(num_tokens, shape.hidden);
    void* const out = world.array<uint16_t>(int64_t{num_tokens} * shape.hidden);
    const std::vector<float> even(static_cast<size_t>(num_tokens) * kPerToken, 0.125f);
    const float* const expert_weights = world.upload(even);
    const int32_t sets = num_tokens <= 4 ? 24 : (num_tokens > 1024 ? 2 : 6);
    std::vector<const int32_t*> ids;
    double busy = 0;
    for (int32_t i = 0; i < sets; ++i) {
      const Routing routing = uniform_routing(num_tokens, 17 + static_cast<uint32_t>(i));
      ids.push_back(world.upload(routing.ids));
      busy += routing.num_busy;
    }
    busy /= sets;
    Line line{.op = "experts",
              .shape = std::to_string(2 * cols) + "x4096 + 4096x" + std::to_string(cols),
              .tp = shape.tp,
              .num_tokens = num_tokens};
    line.bytes = busy * 3.0 * cols * shape.hidden + num_tokens * 3.0 * shape.hidden;
    line.flops = 6.0 * cols * shape.hidden * num_tokens * kPerToken;
    line.roof_flops = kRoofFp8Flops;
    if (shape.tp == 4 && (num_tokens == 1 || num_tokens == 256 || num_tokens == 8192)) {
      line.peer = "DeepGEMM, both products";
      line.peer_us = num_tokens == 1 ? 33.9 + 25.2 : (num_tokens == 256 ? 301 + 164 : 534 + 327);
    }
    world.time(line, sets, [&](int32_t i) {
      ops.experts({.x = x,
                   .experts = &weights,
                   .expert_ids = ids[static_cast<size_t>(i)],
                   .expert_weights = expert_weights,
                   .experts_per_token = kPerToken,
                   .out = out,
                   .num_tokens = num_tokens});
    });
  }
}

}  // namespace mimo::bench
