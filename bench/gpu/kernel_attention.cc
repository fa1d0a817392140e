#include <cmath>
#include <map>
#include <tuple>

#include "bench/gpu/kernel_world.h"

namespace mimo::bench {
namespace {

constexpr int32_t kPage = 64;

struct AttentionCase {
  bool full = true;
  int32_t num_runs = 1;
  int32_t rows = 1;  // of each run
  int32_t context = 4096;
};

// FlashAttention-3 on the same kind of GPU, 16 query heads: window layers without sinks, which it
// cannot combine with unequal widths.
double fa3_us(const AttentionCase& c) {
  static const std::map<std::tuple<bool, int32_t, int32_t, int32_t>, double> kSeen = {
      {{true, 1, 1, 4096}, 14.2},      {{true, 1, 1, 32768}, 22.5},
      {{true, 16, 1, 4096}, 20.9},     {{true, 16, 1, 32768}, 93.0},
      {{false, 1, 1, 4096}, 10.6},     {{false, 16, 1, 4096}, 11.3},
      {{true, 1, 2048, 2048}, 40.2},   {{true, 1, 8192, 8192}, 455},
      {{true, 1, 32768, 32768}, 7769}, {{false, 1, 2048, 2048}, 21.5},
      {{false, 1, 8192, 8192}, 73.3},  {{false, 1, 32768, 32768}, 278}};
  const auto found = kSeen.find({c.full, c.num_runs, c.rows, c.context});
  return found == kSeen.end() ? 0 : found->second;
}

Line line_of(const RankShape& shape, const AttentionCase& c) {
  Line line{.op = "attention",
            .shape = std::string(c.full ? "full" : "window") +
                     (c.rows > 8 ? " prefill" : " decode") + " B" + std::to_string(c.num_runs) +
                     (c.rows > 1 && c.rows <= 8 ? " x " + std::to_string(c.rows) + " rows" : ""),
            .tp = shape.tp,
            .num_tokens = int64_t{c.num_runs} * c.rows,
            .context = c.context};
  const int32_t kv_heads = shape.kv_heads(c.full);
  const double keys = c.full ? c.context : std::min(c.context, 127 + c.rows);
  const double pairs = c.full ? c.rows * (c.context - (c.rows - 1) / 2.0)
                              : c.rows * static_cast<double>(std::min(c.context, 128));
  line.bytes = c.num_runs * (keys * kv_heads * 320.0 * 2 + c.rows * shape.q_heads() * 320.0 * 2);
  line.flops = 2.0 * 320 * pairs * shape.q_heads() * c.num_runs;
  if (shape.tp == 4) {
    line.peer = c.full ? "FA3" : "FA3, no sinks";
    line.peer_us = fa3_us(c);
  }
  return line;
}

// `sets` pools one behind another, their pages in shuffled order.
void bench_case(KernelWorld& world, const RankShape& shape, const AttentionCase& c) {
  const int32_t kv_heads = shape.kv_heads(c.full);
  const int32_t first_key = c.full ? 0 : std::max(0, c.context - c.rows - 127);
  const int32_t stride = (c.context + kPage - 1) / kPage - first_key / kPage;
  const Line line = line_of(shape, c);
  if (!world.wants(line)) return;
  const int32_t sets = std::min(48, KernelWorld::cold_sets(line.bytes));
  const int64_t num_pages = int64_t{c.num_runs} * stride;
  const int64_t slots = num_pages * kv_heads * kPage;
  const bool one_pool = slots * 640.0 * sets > 40e9;
  const int32_t pools = one_pool ? 2 : sets;
  uint16_t* const k = world.array<uint16_t>(slots * 192 * pools);
  uint16_t* const v = world.array<uint16_t>(slots * 128 * pools);
  world.ops().fill_normal_bf16(k, slots * 192 * pools, 1.0f, 5);
  world.ops().fill_normal_bf16(v, slots * 128 * pools, 1.0f, 6);
  std::vector<int32_t> pages(static_cast<size_t>(num_pages));
  for (size_t i = 0; i < pages.size(); ++i) pages[i] = static_cast<int32_t>(i);
  std::shuffle(pages.begin(), pages.end(), std::mt19937(9));
  std::vector<int32_t> row_begin;
  std::vector<int32_t> row_run;
  for (int32_t s = 0; s < c.num_runs; ++s) {
    row_begin.push_back(s * c.rows);
    row_run.insert(row_run.end(), static_cast<size_t>(c.rows), s);
  }
  row_begin.push_back(c.num_runs * c.rows);
  kernels::AttentionParams p;
  p.num_q_heads = shape.q_heads();
  p.runs = {c.num_runs * c.rows,
            c.num_runs,
            world.upload(row_begin),
            world.upload(std::vector<int32_t>(static_cast<size_t>(c.num_runs), c.context)),
            world.upload(row_run),
            nullptr,
            c.rows};
  const int64_t q_rows = int64_t{p.runs.num_tokens} * shape.q_heads();
  uint16_t* const q = world.array<uint16_t>(q_rows * 192);
  world.ops().fill_normal_bf16(q, q_rows * 192, 1.0f, 7);
  p.q = q;
  p.kv = {k, v, DType::kBf16, DType::kBf16, kv_heads, 192, 128, kPage, world.upload(pages), stride};
  p.window = c.full ? 0 : 128;
  p.sinks = c.full ? nullptr : world.upload(std::vector<float>(64, 0.5f));
  p.scale = 1.0f / std::sqrt(192.0f);
  p.out = world.array<uint16_t>(q_rows * 128);
  world.time(line, sets, [&](int32_t i) {
    kernels::AttentionParams now = p;
    now.kv.k = k + i % pools * slots * 192;
    now.kv.v = v + i % pools * slots * 128;
    world.ops().attention(now);
  });
}

}  // namespace

void bench_attention(KernelWorld& world, const RankShape& shape) {
  if (!world.wants("attention")) return;
  for (const bool full : {true, false}) {
    for (const auto& [num_runs, context] : std::vector<std::pair<int32_t, int32_t>>{{1, 4096},
                                                                                    {1, 32768},
                                                                                    {16, 4096},
                                                                                    {16, 32768},
                                                                                    {64, 4096},
                                                                                    {64, 32768},
                                                                                    {256, 4096}}) {
      bench_case(world, shape, {full, num_runs, 1, context});
    }
    // A sequence's draft tokens beside its last: one step verifies them all.
    for (const int32_t rows : {2, 4}) {
      for (const int32_t num_runs : {1, 16, 64}) {
        bench_case(world, shape, {full, num_runs, rows, 4096});
        if (full) bench_case(world, shape, {full, num_runs, rows, 32768});
      }
    }
    for (const int32_t rows : {2048, 8192, 32768}) bench_case(world, shape, {full, 1, rows, rows});
    bench_case(world, shape, {full, 1, 8192, 32768});
  }
}

}  // namespace mimo::bench
