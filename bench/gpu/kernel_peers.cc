#include "bench/gpu/kernel_world.h"
#include "kernels/cuda/tile/cublas_lt.h"

namespace mimo::bench {
namespace {

using kernels::cuda::DeviceContext;
using kernels::cuda::DeviceMatrix;

void bench_product(KernelWorld& world, DeviceContext& context, kernels::cuda::CublasLt& lt,
                   const std::string& op, int32_t rows, int32_t cols, bool out_f32) {
  if (!world.wants(op)) return;
  const double weight_bytes = 2.0 * rows * cols;
  std::vector<DeviceMatrix> weights;
  for (int32_t i = 0; i < KernelWorld::cold_sets(weight_bytes); ++i) {
    DeviceMatrix w;
    w.dtype = DType::kBf16;
    w.rows = rows;
    w.cols = cols;
    w.ld = cols;
    auto* const values = world.array<uint16_t>(int64_t{rows} * cols);
    world.ops().fill_normal_bf16(values, int64_t{rows} * cols, 0.02f, 70 + i);
    w.values = values;
    weights.push_back(w);
  }
  for (const int32_t num_tokens : {1, 16, 64, 256}) {
    const kernels::Rows x = world.normal_rows(num_tokens, cols);
    void* const out = world.array<float>(int64_t{num_tokens} * rows);
    Line line{.op = "cublaslt " + op,
              .shape = std::to_string(rows) + "x" + std::to_string(cols),
              .num_tokens = num_tokens};
    line.bytes = weight_bytes + num_tokens * (2.0 * cols + (out_f32 ? 4.0 : 2.0) * rows);
    line.flops = 2.0 * rows * cols * num_tokens;
    world.ops().wait(world.ops().mark());  // another stream reads them
    world.time_on(context.stream(), line, static_cast<int32_t>(weights.size()), [&](int32_t i) {
      lt.multiply(x.values, weights[static_cast<size_t>(i)], out, out_f32, num_tokens);
    });
  }
}

}  // namespace

void bench_cublas(KernelWorld& world, const RankShape& shape) {
  if (shape.tp != 4) return;
  const auto context = DeviceContext::create({}).value();
  const auto lt = kernels::cuda::CublasLt::create(*context).value();
  bench_product(world, *context, *lt, "o_proj", shape.hidden, shape.q_heads() * 128, false);
  bench_product(world, *context, *lt, "lm_head", shape.vocab_rows(), shape.hidden, true);
}

}  // namespace mimo::bench
