#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/device_context.h"
#include "kernels/cuda/product/qkv_target.h"
#include "kernels/cuda/product/stream_plan.h"
#include "kernels/cuda/route/expert_plan.h"

namespace mimo::kernels::cuda::product {

enum class StreamOut : uint8_t {
  kBf16 = 0,     // out [M, rows] bf16
  kF32 = 1,      // out [M, rows] f32
  kSiluMul = 2,  // weights are [gate | up] rows: out [M, rows / 2] bf16 = silu(gate) * up
  kQkv = 3,      // to `target`
};

// out = x w^T for few tokens: every weight is read once from memory for each tile of
// shape.token_rows tokens. Grouped (`plan`): sorted row r of expert e is multiplied by weight e;
// out's row is r.
struct StreamParams {
  const void* x = nullptr;          // [*, cols] bf16; e4m3 where x_scales is given
  const float* x_scales = nullptr;  // [*, ceil(cols / 128)]; without it FP8 weights' inputs are
                                    // quantised on the way in
  DeviceMatrix w;
  StreamShape shape = {};
  StreamOut out_kind = StreamOut::kBf16;
  void* out = nullptr;
  int32_t num_tokens = 0;  // M; grouped: the most that there can be
  const ExpertPlan* plan = nullptr;
  // Grouped: x's row of sorted row r is pairs[r] / pairs_div; r itself when pairs_div is 0.
  int32_t pairs_div = 0;
  // Grouped: the kernel before this one waited for the plan before it let this one start.
  bool plan_is_ready = false;
  QkvTarget target = {};
};

// Before the first stream() on a device: lets its kernels take a block's shared memory.
void prepare_stream(const DeviceContext& context);
void stream(const StreamParams& p, const DeviceContext& context);

}  // namespace mimo::kernels::cuda::product
