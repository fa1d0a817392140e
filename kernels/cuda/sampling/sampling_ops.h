#pragma once

#include <cstdint>
#include <memory>

#include "base/result.h"
#include "kernels/cuda/device_context.h"
#include "kernels/cuda/sampling/slot_table.h"
#include "kernels/ops.h"

namespace mimo::kernels::cuda {

// Draws and scores over the whole vocabulary; every slot's parameters and counts are on the device.
// set_sampler() only queues: what it is given travels in the launch itself. A draw for a slot that
// has no sampler is not finite, unless the call is plain_greedy.
//
// Thread:    one.
// Lifetime:  `context` outlives it.
class SamplingOps {
 public:
  explicit SamplingOps(DeviceContext& context);
  ~SamplingOps();

  Result<void> prepare(const StepLimits& limits);
  // At most kStopIdsMax stop ids and kBiasedIdsMax biased ones.
  void set_sampler(int32_t slot, const SamplerInit& init);
  void clear_sampler(int32_t slot);
  void sample(const SampleParams& p);
  void score(const ScoreParams& p);

 private:
  struct State;
  DeviceContext& context_;
  std::unique_ptr<State> state_;
};

}  // namespace mimo::kernels::cuda
