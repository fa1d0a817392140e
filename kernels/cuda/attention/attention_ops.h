#pragma once

#include <cstdint>

#include "base/result.h"
#include "kernels/cuda/attention/attention_args.h"
#include "kernels/cuda/attention/attention_plan.h"
#include "kernels/cuda/device_context.h"
#include "kernels/ops.h"

namespace mimo::kernels::cuda {

// Attention over the paged cache, decode rows and prompt rows in one call: portable mma.sync
// kernels, widths as attention_kernel.h has them. A row's result depends on its own run and on the
// step's number of runs and longest run (which set how sequences are split), never on what the
// other runs hold; the same call gives the same bits.
//
// Thread:    one.
// Lifetime:  `context` outlives it.
class AttentionOps {
 public:
  explicit AttentionOps(DeviceContext& context, const DecodeTuning& tuning = {})
      : context_(context), tuning_(tuning) {}

  // Takes the workspace and lets the kernels use their shared memory.
  Result<void> prepare(const StepLimits& limits);
  void attention(const AttentionParams& p);

 private:
  AttentionArgs arguments(const AttentionParams& p) const;
  void check(const AttentionParams& p) const;

  DeviceContext& context_;
  const DecodeTuning tuning_;
  // Partial results of split sequences; shapes in attention_args.h.
  float* partial_sums_ = nullptr;
  float* partial_stats_ = nullptr;
  int32_t* arrivals_ = nullptr;
  int32_t v_dim_max_ = 0;
};

}  // namespace mimo::kernels::cuda
