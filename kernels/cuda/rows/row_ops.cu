#include "kernels/cuda/rows/row_ops.h"

#include <algorithm>
#include <cstdint>

#include "base/check.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/rows/folded_norm.h"
#include "kernels/device/norm.cuh"
#include "kernels/device/pdl.cuh"
#include "kernels/device/reduce.cuh"
#include "kernels/device/vec.cuh"

namespace mimo::kernels::cuda {
namespace {

using device::Bf16x8;

constexpr int32_t kGroup = device::kScaleGroup;
constexpr int32_t kGroupThreads = device::kScaleThreads;
constexpr int32_t kThreadsMax = 1024;
constexpr int32_t kCopyThreads = 256;
constexpr int32_t kHiddenMax = 2 * kThreadsMax * Bf16x8::kSize;

// --- Steps --------------------------------------------------------------------------------------

// The e4m3 copy of this thread's eight columns and, from the group's first thread, its scale. All
// lanes of the warp call; lanes that are not `active` hold zeros and write nothing.
__device__ __forceinline__ void store_quantised(const Bf16x8& values, bool active, uint8_t* q,
                                                float* q_scale) {
  const device::Quantised out = device::quantised(values);
  if (!active) return;
  *reinterpret_cast<uint2*>(q) = out.q;
  if (threadIdx.x % kGroupThreads == 0) *q_scale = out.scale;
}

__device__ __forceinline__ void copy_row(const uint16_t* from, uint16_t* to, int32_t cols) {
  constexpr int32_t kStep = kCopyThreads * Bf16x8::kSize;
  for (int32_t c = static_cast<int32_t>(threadIdx.x) * Bf16x8::kSize; c < cols; c += kStep) {
    (from == nullptr ? Bf16x8::zeros() : Bf16x8::load(from + c)).store(to + c);
  }
}

// --- Kernels ------------------------------------------------------------------------------------

// grid [T]; block: whole warps, kVecs * blockDim * 8 >= H. The row stays in registers.
template <int kVecs>
__global__ void __launch_bounds__(kThreadsMax)
    add_norm_kernel(const __grid_constant__ AddNormParams p) {
  __shared__ float scratch[32];
  const int32_t hidden = p.out.cols;
  const int64_t row = int64_t{blockIdx.x} * hidden;
  const auto column = [](int v) {
    return static_cast<int32_t>(v * blockDim.x + threadIdx.x) * Bf16x8::kSize;
  };
  float weight[kVecs][Bf16x8::kSize];
#pragma unroll
  for (int v = 0; v < kVecs; ++v) {
    if (column(v) < hidden) device::load_constant(p.weight + column(v), weight[v]);
  }
  device::let_next_start();
  device::wait_for_inputs();

  const auto* residual = static_cast<const uint16_t*>(p.residual) + row;
  const auto* delta = static_cast<const uint16_t*>(p.delta);
  auto* sums = static_cast<uint16_t*>(p.residual_out == nullptr ? p.residual : p.residual_out);
  Bf16x8 x[kVecs];
  float squares = 0.0f;
#pragma unroll
  for (int v = 0; v < kVecs; ++v) {
    const bool active = column(v) < hidden;
    x[v] = active ? Bf16x8::load(residual + column(v)) : Bf16x8::zeros();
    if (delta != nullptr && active) {
      x[v] = device::added(x[v], Bf16x8::load(delta + row + column(v)));
      x[v].store(sums + row + column(v));
    }
    squares = device::add_squares(x[v], squares);
  }
  const float factor = device::norm_factor(device::block_sum(squares, scratch), hidden, p.eps);

  const int32_t num_groups = (hidden + kGroup - 1) / kGroup;
#pragma unroll
  for (int v = 0; v < kVecs; ++v) {
    const bool active = column(v) < hidden;
    const Bf16x8 out = active ? device::normed(x[v], factor, weight[v]) : Bf16x8::zeros();
    if (active) out.store(static_cast<uint16_t*>(p.out.values) + row + column(v));
    if (p.out.q == nullptr) continue;
    store_quantised(out, active, p.out.q + row + column(v),
                    p.out.q_scales + int64_t{blockIdx.x} * num_groups + column(v) / kGroup);
  }
}

// A thread: eight columns of a row whose width is rounded up to whole groups.
__global__ void __launch_bounds__(kCopyThreads)
    quantise_kernel(const __grid_constant__ QuantiseParams p) {
  device::let_next_start();
  device::wait_for_inputs();
  const int32_t num_groups = (p.cols + kGroup - 1) / kGroup;
  const int32_t threads_per_row = num_groups * kGroupThreads;
  const int64_t at = int64_t{blockIdx.x} * kCopyThreads + threadIdx.x;
  const int64_t row = at / threads_per_row;
  const int32_t col = static_cast<int32_t>(at % threads_per_row) * Bf16x8::kSize;
  const bool active = row < p.num_rows && col < p.cols;
  const int64_t element = row * p.cols + col;
  const Bf16x8 values =
      active ? Bf16x8::load(static_cast<const uint16_t*>(p.x) + element) : Bf16x8::zeros();
  store_quantised(values, active, p.q + element, p.q_scales + row * num_groups + col / kGroup);
}

struct EmbedTask {
  const uint16_t* table;  // [rows, ld] bf16
  int32_t rows;
  int32_t ld;
  int32_t cols;
  int32_t vocab_begin;
  const int32_t* ids;
  const int32_t* last_tokens;
  uint16_t* out;  // [T, cols] bf16
};

// grid [T]
__global__ void __launch_bounds__(kCopyThreads) embed_kernel(const __grid_constant__ EmbedTask p) {
  // In this order: what writes a step's page tables comes before, and attention, which reads them
  // early, counts on it being done (attention_ops.h).
  device::wait_for_inputs();
  device::let_next_start();
  int32_t token = p.ids[blockIdx.x];
  if (token < 0) token = p.last_tokens[~token];
  const int64_t id = int64_t{token} - p.vocab_begin;
  const bool here = token >= 0 && id >= 0 && id < p.rows;
  copy_row(here ? p.table + id * p.ld : nullptr, p.out + int64_t{blockIdx.x} * p.cols, p.cols);
}

// grid [R]
__global__ void __launch_bounds__(kCopyThreads)
    gather_kernel(const __grid_constant__ GatherRowsParams p) {
  device::let_next_start();
  device::wait_for_inputs();
  copy_row(static_cast<const uint16_t*>(p.in) + int64_t{p.rows[blockIdx.x]} * p.cols,
           static_cast<uint16_t*>(p.out) + int64_t{blockIdx.x} * p.cols, p.cols);
}

__global__ void __launch_bounds__(kCopyThreads)
    scatter_kernel(const __grid_constant__ ScatterParams p) {
  device::let_next_start();
  device::wait_for_inputs();
  const int64_t i = int64_t{blockIdx.x} * kCopyThreads + threadIdx.x;
  if (i < p.count) p.table[p.at[i]] = p.values[i];
}

// --- Launchers ----------------------------------------------------------------------------------

bool aligned(const void* at, uintptr_t bytes) {
  return reinterpret_cast<uintptr_t>(at) % bytes == 0;
}

unsigned num_blocks(int64_t threads) {
  return static_cast<unsigned>((threads + kCopyThreads - 1) / kCopyThreads);
}

}  // namespace

void RowOps::embed(const EmbedParams& p) {
  if (p.num_tokens == 0) return;
  const DeviceMatrix& table = context_.matrix(p.table);
  CHECK(table.dtype == DType::kBf16);
  CHECK(table.cols % Bf16x8::kSize == 0 && table.ld % Bf16x8::kSize == 0);
  CHECK(p.num_tokens > 0 && p.ids != nullptr && aligned(p.out, 16));
  const EmbedTask task{static_cast<const uint16_t*>(table.values),
                       table.rows,
                       table.ld,
                       table.cols,
                       p.vocab_begin,
                       p.ids,
                       p.last_tokens,
                       static_cast<uint16_t*>(p.out)};
  launch(embed_kernel, {dim3(p.num_tokens), dim3(kCopyThreads)}, context_.stream(), task);
}

void RowOps::add_norm(const AddNormParams& p) {
  const int32_t hidden = p.out.cols;
  check_norm(p);
  CHECK_LE(hidden, kHiddenMax);
  if (p.num_tokens == 0) return;
  const int32_t num_vecs = hidden / Bf16x8::kSize;
  const int32_t threads = std::min((num_vecs + 31) / 32 * 32, kThreadsMax);
  const LaunchShape shape{dim3(p.num_tokens), dim3(threads)};
  if (num_vecs <= kThreadsMax) return launch(add_norm_kernel<1>, shape, context_.stream(), p);
  launch(add_norm_kernel<2>, shape, context_.stream(), p);
}

void RowOps::gather_rows(const GatherRowsParams& p) {
  if (p.num_rows == 0) return;
  CHECK(p.num_rows > 0 && p.cols > 0 && p.cols % Bf16x8::kSize == 0);
  CHECK(p.rows != nullptr && aligned(p.in, 16) && aligned(p.out, 16));
  launch(gather_kernel, {dim3(p.num_rows), dim3(kCopyThreads)}, context_.stream(), p);
}

void RowOps::scatter(const ScatterParams& p) {
  CHECK_GE(p.count, 0);
  launch(scatter_kernel, {dim3(num_blocks(p.count)), dim3(kCopyThreads)}, context_.stream(), p);
}

void quantise(const QuantiseParams& p, cudaStream_t stream) {
  CHECK(p.num_rows >= 0 && p.cols > 0 && p.cols % Bf16x8::kSize == 0);
  CHECK(aligned(p.x, 16) && aligned(p.q, 8));
  const int64_t threads = int64_t{p.num_rows} * ((p.cols + kGroup - 1) / kGroup) * kGroupThreads;
  launch(quantise_kernel, {dim3(num_blocks(threads)), dim3(kCopyThreads)}, stream, p);
}

}  // namespace mimo::kernels::cuda
