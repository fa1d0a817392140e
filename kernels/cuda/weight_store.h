#pragma once

#include <cstdint>

#include "base/result.h"
#include "kernels/cuda/device_context.h"
#include "kernels/cuda/staging.h"
#include "kernels/ops.h"

namespace mimo::kernels::cuda {

// Weights in DeviceMatrix's form: loaded, or of random values.
//
// Thread:    one.
// Lifetime:  `context` and `staging` outlive it.
class WeightStore {
 public:
  WeightStore(DeviceContext& context, Staging& staging) : context_(context), staging_(staging) {}

  // kInvalidArgument: a dtype other than kBf16 and kF8E4m3, columns that are no multiple of 8, or
  // bytes or scales that do not fit the shape. A refusal has taken nothing.
  Result<Linear> load_linear(const HostLinear& weight);
  Result<LinearStack> make_stack(const StackShape& shape);
  Result<void> load_into(const LinearStack& stack, int32_t i, const HostLinear& weight);

  Result<Linear> random_linear(const StackShape& shape, uint64_t seed);
  Result<LinearStack> random_stack(const StackShape& shape, uint64_t seed);

 private:
  // Zeroed memory for the weights.
  Result<DeviceMatrix> reserve(const StackShape& shape);
  void load(const DeviceMatrix& to, int32_t i, const HostLinear& weight);
  void fill(const DeviceMatrix& matrix, uint64_t seed);

  DeviceContext& context_;
  Staging& staging_;
};

// The elements of a row in device memory: rows at multiples of 16 bytes and, where there are
// several matrices, each matrix at a multiple of 128.
int64_t padded_cols(const StackShape& shape);

}  // namespace mimo::kernels::cuda
