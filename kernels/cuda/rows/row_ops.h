#pragma once

#include "base/result.h"
#include "kernels/cuda/device_context.h"
#include "kernels/ops.h"

namespace mimo::kernels::cuda {

// What touches rows one by one: embed, add_norm, gather_rows, scatter, and the quantisation that
// products ask for.
//
// Thread:    one.
// Lifetime:  `context` outlives it.
class RowOps {
 public:
  explicit RowOps(DeviceContext& context) : context_(context) {}

  void embed(const EmbedParams& p);
  void add_norm(const AddNormParams& p);
  void gather_rows(const GatherRowsParams& p);
  void scatter(const ScatterParams& p);

 private:
  DeviceContext& context_;
};

// q = e4m3(x / scale), scale = max |x| / 448 over 128 columns of a row; a group too small for a
// normal scale has scale 1. Values times the float reciprocal of the scale, to nearest even.
struct QuantiseParams {
  const void* x = nullptr;  // [num_rows, cols] bf16
  int32_t cols = 0;
  int32_t num_rows = 0;
  uint8_t* q = nullptr;       // [num_rows, cols] e4m3
  float* q_scales = nullptr;  // [num_rows, ceil(cols / 128)]
};
void quantise(const QuantiseParams& p, cudaStream_t stream);

}  // namespace mimo::kernels::cuda
