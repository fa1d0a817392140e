#include "kernels/cuda/random_fill.h"

#include <algorithm>

#include "base/check.h"
#include "kernels/cuda/launch.h"
#include "kernels/device/fp8.cuh"
#include "kernels/device/pdl.cuh"
#include "kernels/device/vec.cuh"

namespace mimo::kernels::cuda {
namespace {

constexpr int32_t kThreads = 256;
constexpr int32_t kBlocksMax = 1 << 16;
constexpr float kTwoPi = 6.2831853f;

// --- Steps --------------------------------------------------------------------------------------

// 64 mixed bits of (seed, at): the finaliser of splitmix64 over a Weyl sequence.
__device__ __forceinline__ uint64_t mixed(uint64_t seed, uint64_t at) {
  uint64_t x = (seed * 0xd1342543de82ef95u + at) * 0x9e3779b97f4a7c15u + 0x2545f4914f6cdd1du;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// In (0, 1).
__device__ __forceinline__ float unit(uint32_t bits) {
  return (static_cast<float>(bits >> 8) + 0.5f) * 0x1p-24f;
}

// Two normal deviates.
__device__ __forceinline__ float2 normal_pair(uint64_t seed, uint64_t at) {
  const uint64_t bits = mixed(seed, at);
  const float radius = sqrtf(-2.0f * __logf(unit(static_cast<uint32_t>(bits))));
  const float angle = kTwoPi * unit(static_cast<uint32_t>(bits >> 32));
  return make_float2(radius * __cosf(angle), radius * __sinf(angle));
}

__device__ __forceinline__ void eight_normals(uint64_t seed, int64_t vec, float deviation,
                                              float (&x)[8]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 pair = normal_pair(seed, static_cast<uint64_t>(vec) * 4 + i);
    x[2 * i] = pair.x * deviation;
    x[2 * i + 1] = pair.y * deviation;
  }
}

// --- Kernels: any grid --------------------------------------------------------------------------

struct RowsTask {
  uint8_t* out;  // [rows, vecs_per_row * 8]
  int64_t num_vecs;
  int32_t vecs_per_row;
  int32_t cols;  // a multiple of 8
  bool fp8;
  float deviation;
  uint64_t seed;
};

__global__ void __launch_bounds__(kThreads) normal_rows_kernel(const __grid_constant__ RowsTask p) {
  device::let_next_start();
  device::wait_for_inputs();
  const int64_t step = int64_t{gridDim.x} * kThreads;
  for (int64_t vec = int64_t{blockIdx.x} * kThreads + threadIdx.x; vec < p.num_vecs; vec += step) {
    if (static_cast<int32_t>(vec % p.vecs_per_row) * 8 >= p.cols) continue;
    float x[8];
    eight_normals(p.seed, vec, p.deviation, x);
    if (p.fp8) {
      *reinterpret_cast<uint2*>(p.out + vec * 8) = device::scaled_e4m3(x, 1.0f);
    } else {
      device::Bf16x8::rounded(x).store(p.out + vec * 16);
    }
  }
}

struct FloatsTask {
  float* out;
  int64_t count;
  float low;  // uniform: from `low` to `high`; normal: deviation `high`
  float high;
  bool normal;
  uint64_t seed;
};

__global__ void __launch_bounds__(kThreads) floats_kernel(const __grid_constant__ FloatsTask p) {
  device::let_next_start();
  device::wait_for_inputs();
  const int64_t step = int64_t{gridDim.x} * kThreads;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < p.count; i += step) {
    const auto at = static_cast<uint64_t>(i);
    p.out[i] = p.normal ? normal_pair(p.seed, at).x * p.high
                        : p.low + (p.high - p.low) * unit(static_cast<uint32_t>(mixed(p.seed, at)));
  }
}

// --- Launchers ----------------------------------------------------------------------------------

LaunchShape shape_for(int64_t items) {
  const int64_t blocks = (items + kThreads - 1) / kThreads;
  return {dim3(static_cast<unsigned>(std::min<int64_t>(blocks, kBlocksMax))), dim3(kThreads)};
}

}  // namespace

void fill_normal_rows(const DeviceMatrix& matrices, float deviation, uint64_t seed,
                      cudaStream_t stream) {
  CHECK(matrices.dtype == DType::kBf16 || matrices.dtype == DType::kF8E4m3);
  CHECK(matrices.cols % 8 == 0 && matrices.ld % 8 == 0);
  const int32_t vecs_per_row = matrices.ld / 8;
  const RowsTask task{static_cast<uint8_t*>(const_cast<void*>(matrices.values)),
                      int64_t{matrices.count} * matrices.rows * vecs_per_row,
                      vecs_per_row,
                      matrices.cols,
                      matrices.dtype == DType::kF8E4m3,
                      deviation,
                      seed};
  launch(normal_rows_kernel, shape_for(task.num_vecs), stream, task);
}

void fill_normal_bf16(void* out, int64_t count, float deviation, uint64_t seed,
                      cudaStream_t stream) {
  CHECK(count >= 0 && count % 8 == 0 && reinterpret_cast<uintptr_t>(out) % 16 == 0);
  const RowsTask task{static_cast<uint8_t*>(out), count / 8, 1, 8, false, deviation, seed};
  launch(normal_rows_kernel, shape_for(task.num_vecs), stream, task);
}

void fill_normal(float* out, int64_t count, float deviation, uint64_t seed, cudaStream_t stream) {
  launch(floats_kernel, shape_for(count), stream,
         FloatsTask{out, count, 0.0f, deviation, true, seed});
}

void fill_uniform(float* out, int64_t count, float low, float high, uint64_t seed,
                  cudaStream_t stream) {
  launch(floats_kernel, shape_for(count), stream, FloatsTask{out, count, low, high, false, seed});
}

}  // namespace mimo::kernels::cuda
