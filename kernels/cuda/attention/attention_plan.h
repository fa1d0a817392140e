#pragma once

#include <cstdint>

#include "kernels/cuda/attention/attention_args.h"
#include "kernels/ops.h"

namespace mimo::kernels::cuda {

// How the decode kernels fill the device.
struct DecodeTuning {
  // A kernel's name of kernels/attention_choice.h; empty: measured_wish().
  const char* wish = "";
  // The streaming kernel's thread blocks have so many key blocks at least.
  int32_t share_min = 1;
  // What the beginning of a sequence costs them, in key blocks.
  int32_t unit_cost = 1;
  // The others are mma_sync's.
  // Blocks that split sequences are cut into, per multiprocessor.
  int32_t blocks_per_sm = 2;
  // True: each block keeps as many key blocks under way as fit, alone on its multiprocessor. False:
  // two, so that two blocks share one and each hides the other's start and end. Layers with a short
  // window always take the latter: their keys are two or three blocks.
  bool deep_ring = false;
  // The kernels and splits of a sequence's decode rows do not depend on the step's other runs.
  bool batch_invariant = false;
};

// The decode kernel's grid: (splits_max, tiles * kv_heads, runs). Depends on nothing that lies on
// the device, so that a recorded step stays right when lengths change.
struct DecodePlan {
  int32_t tiles = 0;  // of kDecodeTileRows packed rows, for the longest run that it may take
  int32_t units = 0;  // runs * tiles * kv_heads
  int32_t splits_max = 1;
  int32_t split_min = kSplitKeysMin / kKeyBlock;  // key blocks
  int32_t runs_a_launch = 0;                      // as many as the workspace holds splits of
  bool deep_ring = false;
};
DecodePlan plan_decode(const AttentionParams& p, int32_t num_sms, const DecodeTuning& tuning);

// The kernel that was measured to be fastest on an H200: without a window "wgmma_sm90" where there
// are prompts (8k tokens: 615 us, mma_sync 1220) and "tma" where there are none, else "mma_sync".
// 16 heads of 192/128, us, mma_sync and tma: one run of 4k 16.4 and 6.8, of 32k 30.1 and 12.2; 16
// of 4k 24.9 and 18.7; 64 of 32k 343 and 328; 256 of 4k 173 and 171 to 176; 64 of 1 to 32k 211 and
// 104; 16 of 4k with 4 rows 51 and 31. Windows of 128, by their own kernel: 1, 16, 64, 256 runs
// 2.4, 3.1, 4.2, 15.0. Behind a product that fills every multiprocessor these and short runs take
// 2 to 4 us more: nothing can be asked for while it holds all shared memory.
const char* measured_wish(const AttentionParams& p, int32_t capability);

// Whether all keys that a run's decode rows see fit the window kernel.
bool takes_window(const AttentionParams& p);
struct WindowPlan {
  int32_t tiles = 0;
  int32_t row_tiles = 0;  // times 16 packed rows of a block: 1, 2 or 4
  bool one_chain = false;
  // One a unit; of one or two row tiles two a multiprocessor at most, which take the units in
  // turns.
  int32_t blocks = 0;
};
WindowPlan plan_window(const AttentionParams& p, int32_t num_sms, bool batch_invariant = false);

// The streaming decode kernel's grid and how its work is cut. Depends on nothing that lies on the
// device, either.
struct StreamPlan {
  int32_t tiles = 0;
  int32_t blocks = 0;        // at most one a multiprocessor: they wait for one another
  bool whole_units = false;  // short windows are not worth a split
  int32_t unit_cost = 0;
  int32_t share_min = 1;
  int32_t box_rows = 0;
};
StreamPlan plan_stream(const AttentionParams& p, int32_t num_sms, const DecodeTuning& tuning);

// Keys that the copy engine brings at a time: of a window's first and last key block only some are
// wanted.
int32_t box_rows_of(const AttentionParams& p);

// Blocks whose partial results the workspace must hold, at most: plan_decode() never asks for more
// where splits_max > 1.
int64_t decode_partials_max(int32_t num_sms, const DecodeTuning& tuning);
// The same for the streaming kernel, whose blocks have two places each.
int64_t stream_parts_max(int32_t num_sms);

// The prompt kernel's blocks for each kv head: a bound of the tiles that its runs may have.
int32_t prompt_tiles_max(const AttentionParams& p);

}  // namespace mimo::kernels::cuda
