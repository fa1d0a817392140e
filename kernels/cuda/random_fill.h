#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/device_context.h"

// Values that depend on (seed, place) alone, made where they lie.
namespace mimo::kernels::cuda {

// Normal deviates times `deviation`, in the matrices' dtype; the padding of rows stays zero.
void fill_normal_rows(const DeviceMatrix& matrices, float deviation, uint64_t seed,
                      cudaStream_t stream);
// `count` is a multiple of 8, `out` 16-byte aligned.
void fill_normal_bf16(void* out, int64_t count, float deviation, uint64_t seed,
                      cudaStream_t stream);
void fill_normal(float* out, int64_t count, float deviation, uint64_t seed, cudaStream_t stream);
void fill_uniform(float* out, int64_t count, float low, float high, uint64_t seed,
                  cudaStream_t stream);

}  // namespace mimo::kernels::cuda
