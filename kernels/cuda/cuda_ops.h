#pragma once

#include <cstdint>
#include <memory>

#include "base/result.h"
#include "kernels/cuda/device_context.h"
#include "kernels/ops.h"

namespace mimo::kernels::cuda {

struct CudaInfo {
  int32_t device = 0;
  int32_t capability = 0;  // 90, 100
  int32_t num_sms = 0;
  int64_t total_bytes = 0;
  int64_t used_bytes = 0;  // of the whole device, by whoever
  char name[64] = {};
};

// The CUDA backend, and what only a bench or a worker on a GPU asks of it.
class CudaOps : public Ops {
 public:
  virtual CudaInfo info() const = 0;
  // Weights of random values, made on the device; e4m3 with random scales. The products of such a
  // weight and normal rows have about unit variance.
  virtual Result<Linear> random_linear(DType dtype, int64_t rows, int64_t cols,
                                       int32_t rows_per_scale, uint64_t seed) = 0;
  virtual Result<LinearStack> random_stack(const StackShape& shape, uint64_t seed) = 0;
  // Normal deviates times `deviation`.
  virtual Result<float*> random_floats(int64_t count, float deviation, uint64_t seed) = 0;
  // The same as bf16, into memory that is there: activations and caches of a bench. `count` is a
  // multiple of 8.
  virtual void fill_normal_bf16(void* values, int64_t count, float deviation, uint64_t seed) = 0;
};

Result<std::unique_ptr<CudaOps>> make_cuda_ops(const CudaOptions& options);
// 0 where there is no device or no driver.
int32_t num_devices();

}  // namespace mimo::kernels::cuda
