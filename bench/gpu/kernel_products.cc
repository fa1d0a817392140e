#include <map>

#include "bench/gpu/kernel_world.h"

namespace mimo::bench {
namespace {

using kernels::Linear;

constexpr int32_t kTokens[] = {1, 16, 64, 256, 4096};

// Recorded on the same kind of GPU: DeepGEMM 2.6.1, tp 4.
double deep_gemm_qkv_us(bool full, int32_t num_tokens) {
  static const std::map<int32_t, double> kFull = {
      {1, 9.4}, {16, 8.2}, {64, 7.7}, {256, 12.7}, {4096, 109}};
  static const std::map<int32_t, double> kWindow = {
      {1, 9.4}, {16, 8.4}, {64, 7.9}, {256, 11.4}, {4096, 101}};
  return (full ? kFull : kWindow).at(num_tokens);
}

std::vector<Linear> linears(KernelWorld& world, DType dtype, int64_t rows, int64_t cols,
                            int32_t rows_per_scale) {
  const double bytes = static_cast<double>(rows) * cols * dtype_bytes(dtype);
  std::vector<Linear> out;
  for (int32_t i = 0; i < KernelWorld::cold_sets(bytes); ++i) {
    out.push_back(world.ops().random_linear(dtype, rows, cols, rows_per_scale, 100 + i).value());
  }
  return out;
}

// One token a sequence at position 100 + i, or one prompt where there are many tokens.
struct Step {
  kernels::Runs runs;
  kernels::PagedKv kv;
};
Step step_of(KernelWorld& world, const RankShape& shape, bool full, int32_t num_tokens) {
  const bool prompt = num_tokens > 256;
  const int32_t num_runs = prompt ? 1 : num_tokens;
  const int32_t rows = num_tokens / num_runs;
  const int32_t stride = prompt ? (num_tokens + 63) / 64 : 2;
  std::vector<int32_t> row_begin;
  std::vector<int32_t> row_run;
  std::vector<int32_t> pages;
  for (int32_t s = 0; s < num_runs; ++s) {
    row_begin.push_back(s * rows);
    row_run.insert(row_run.end(), static_cast<size_t>(rows), s);
  }
  row_begin.push_back(num_tokens);
  for (int32_t i = 0; i < num_runs * stride; ++i) pages.push_back(i);
  Step out;
  out.runs = {
      num_tokens,
      num_runs,
      world.upload(row_begin),
      world.upload(std::vector<int32_t>(static_cast<size_t>(num_runs), prompt ? rows : 100)),
      world.upload(row_run),
      nullptr,
      rows};
  out.kv.kv_heads = shape.kv_heads(full);
  out.kv.k_dim = 192;
  out.kv.v_dim = 128;
  out.kv.page_tokens = 64;
  out.kv.pages = world.upload(pages);
  out.kv.stride = stride;
  const int64_t slots = int64_t{num_runs} * stride * out.kv.kv_heads * 64;
  out.kv.k = world.array<uint16_t>(slots * 192);
  out.kv.v = world.array<uint16_t>(slots * 128);
  return out;
}

void bench_qkv(KernelWorld& world, const RankShape& shape, bool full) {
  const int32_t rows = shape.qkv_rows(full);
  const auto weights = linears(world, DType::kF8E4m3, rows, shape.hidden, 64);
  for (const int32_t num_tokens : kTokens) {
    const kernels::Rows x = world.normal_rows(num_tokens, shape.hidden);
    const Step step = step_of(world, shape, full, num_tokens);
    void* const q = world.array<uint16_t>(int64_t{num_tokens} * shape.q_heads() * 192);
    Line line{.op = "qkv",
              .shape = std::string(full ? "full " : "window ") + std::to_string(rows) + "x4096",
              .tp = shape.tp,
              .num_tokens = num_tokens};
    line.bytes = 1.0 * rows * shape.hidden + num_tokens * (1.0 * shape.hidden + 2.0 * rows);
    line.flops = 2.0 * rows * shape.hidden * num_tokens;
    line.roof_flops = kRoofFp8Flops;
    if (shape.tp == 4) {
      line.peer = "DeepGEMM, product alone";
      line.peer_us = deep_gemm_qkv_us(full, num_tokens);
    }
    world.time(line, static_cast<int32_t>(weights.size()), [&](int32_t i) {
      world.ops().qkv({.x = x,
                       .qkv = weights[static_cast<size_t>(i)],
                       .num_q_heads = shape.q_heads(),
                       .rotary_dim = 64,
                       .rope_theta = full ? 5e6 : 1e4,
                       .value_scale = 0.707f,
                       .runs = step.runs,
                       .kv = step.kv,
                       .q = q});
    });
  }
}

void bench_linear(KernelWorld& world, const RankShape& shape, const std::string& op, int64_t rows,
                  int64_t cols, bool out_f32, const std::vector<int32_t>& tokens) {
  const auto weights = linears(world, DType::kBf16, rows, cols, 128);
  for (const int32_t num_tokens : tokens) {
    const kernels::Rows x = world.normal_rows(num_tokens, static_cast<int32_t>(cols));
    void* const out = world.array<float>(num_tokens * rows);
    Line line{.op = op,
              .shape = std::to_string(rows) + "x" + std::to_string(cols),
              .tp = shape.tp,
              .num_tokens = num_tokens};
    line.bytes = 2.0 * rows * cols + num_tokens * (2.0 * cols + (out_f32 ? 4.0 : 2.0) * rows);
    line.flops = 2.0 * rows * cols * num_tokens;
    world.time(line, static_cast<int32_t>(weights.size()), [&](int32_t i) {
      world.ops().linear({.x = x.values,
                          .w = weights[static_cast<size_t>(i)],
                          .out = out,
                          .out_f32 = out_f32,
                          .num_tokens = num_tokens});
    });
  }
}

void bench_dense_ffn(KernelWorld& world, const RankShape& shape) {
  const int64_t cols = shape.dense_cols();
  const auto gate_up = linears(world, DType::kF8E4m3, 2 * cols, shape.hidden, 128);
  const auto down = linears(world, DType::kF8E4m3, shape.hidden, cols, 128);
  const size_t sets = std::min(gate_up.size(), down.size());
  for (const int32_t num_tokens : kTokens) {
    const kernels::Rows x = world.normal_rows(num_tokens, shape.hidden);
    void* const out = world.array<uint16_t>(int64_t{num_tokens} * shape.hidden);
    Line line{.op = "dense_ffn",
              .shape = std::to_string(2 * cols) + "x4096 + 4096x" + std::to_string(cols),
              .tp = shape.tp,
              .num_tokens = num_tokens};
    line.bytes = 3.0 * cols * shape.hidden + num_tokens * 3.0 * shape.hidden;
    line.flops = 6.0 * cols * shape.hidden * num_tokens;
    line.roof_flops = kRoofFp8Flops;
    world.time(line, static_cast<int32_t>(sets), [&](int32_t i) {
      world.ops().dense_ffn({.x = x,
                             .gate_up = gate_up[static_cast<size_t>(i)],
                             .down = down[static_cast<size_t>(i)],
                             .out = out,
                             .num_tokens = num_tokens});
    });
  }
}

}  // namespace

void bench_products(KernelWorld& world, const RankShape& shape) {
  if (world.wants("qkv")) {
    bench_qkv(world, shape, true);
    bench_qkv(world, shape, false);
  }
  if (world.wants("o_proj")) {
    bench_linear(world, shape, "o_proj", 4096, shape.q_heads() * 128, false,
                 {1, 16, 64, 256, 4096});
  }
  if (world.wants("lm_head")) {
    bench_linear(world, shape, "lm_head", shape.vocab_rows(), 4096, true, {1, 16, 64, 256});
  }
  if (world.wants("dense_ffn")) bench_dense_ffn(world, shape);
}

}  // namespace mimo::bench
