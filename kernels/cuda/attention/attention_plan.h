#pragma once

#include <cstdint>

#include "kernels/ops.h"

namespace mimo::kernels::cuda {

// How the decode kernel fills the device. Not measured yet.
struct DecodeTuning {
  // Blocks that split sequences are cut into, per multiprocessor.
  int32_t blocks_per_sm = 2;
  // True: each block keeps as many key blocks under way as fit, alone on its multiprocessor. False:
  // two, so that two blocks share one and each hides the other's start and end. Layers with a short
  // window always take the latter: their keys are two or three blocks.
  bool deep_ring = false;
};

// The decode kernel's grid: (splits_max, tiles * kv_heads, runs). Depends on nothing that lies on
// the device, so that a recorded step stays right when lengths change.
struct DecodePlan {
  int32_t tiles = 0;  // of kDecodeTileRows packed rows, for the longest run that it may take
  int32_t units = 0;  // runs * tiles * kv_heads
  int32_t splits_max = 1;
  bool deep_ring = false;
};
DecodePlan plan_decode(const AttentionParams& p, int32_t num_sms, const DecodeTuning& tuning);

// Blocks whose partial results the workspace must hold, at most: plan_decode() never asks for more
// where splits_max > 1.
int64_t decode_partials_max(int32_t num_sms, const DecodeTuning& tuning);

// The prompt kernel's blocks for each kv head: a bound of the tiles that its runs may have.
int32_t prompt_tiles_max(const AttentionParams& p);

}  // namespace mimo::kernels::cuda
