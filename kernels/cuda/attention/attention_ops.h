#pragma once

#include <cstdint>

#include "base/result.h"
#include "kernels/cuda/device_context.h"
#include "kernels/ops.h"

namespace mimo::kernels::cuda {

// Attention over the paged cache, decode rows and prompt rows in one call.
//
// Thread:    one.
// Lifetime:  `context` outlives it.
class AttentionOps {
 public:
  explicit AttentionOps(DeviceContext& context) : context_(context) {}

  // Takes the workspace and lets the kernels use their shared memory.
  Result<void> prepare(const StepLimits& limits);
  void attention(const AttentionParams& p);

 private:
  DeviceContext& context_;
  // Partial results of split sequences; sizes in attention_ops.cc.
  void* workspace_ = nullptr;
  int64_t workspace_bytes_ = 0;
};

}  // namespace mimo::kernels::cuda
