#pragma once

#include <cuda.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <tuple>

#include "base/result.h"
#include "kernels/cuda/attention/attention_args.h"
#include "kernels/cuda/attention/attention_plan.h"
#include "kernels/cuda/device_context.h"
#include "kernels/cuda/tile/tensor_maps.h"
#include "kernels/ops.h"

namespace mimo::kernels::cuda {

// Attention over the paged cache, decode rows and prompt rows in one call, by the kernels that
// kernels/attention_choice.h chooses. A row's result depends on its own run and on how sequences
// are split: with mma_sync that is the step's number of runs and longest run, with the streaming
// kernel the lengths of all runs, with the window kernel the longest run; never on what the other
// runs hold. The same call gives the same bits. DecodeTuning::batch_invariant: on its own run
// alone.
//
// Decode kernels read lengths, page tables and the keys in front of a run's own rows while the
// kernel queued before them may still run. So these must be older: between what writes them and
// attention() stands a kernel that lets the next start only after its own wait (launch.h). In a
// step embed() is such a one; qkv() need not be, and writes no keys but the rows' own.
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
  // The streaming kernel's, as its first launch must find it.
  Result<void> prepare_parts(int32_t v_dim_max);
  AttentionArgs arguments(const AttentionParams& p) const;
  // The chosen kernel's name.
  std::string check(const AttentionParams& p) const;
  void decode(const AttentionParams& p, AttentionArgs args);
  void decode_window(const AttentionParams& p, AttentionArgs args);
  void decode_streamed(const AttentionParams& p, AttentionArgs args);
  void prompts(const AttentionParams& p, const std::string& kernel, AttentionArgs args);
  // slabs: of a box (TensorMaps::slabs()); 0: TensorMaps::rows().
  const CUtensorMap& pool_map(const void* pool, int32_t row_bytes, int32_t box_rows, int32_t slabs);

  DeviceContext& context_;
  const DecodeTuning tuning_;
  // Partial results of split sequences; shapes in attention_args.h.
  float* partial_sums_ = nullptr;
  float* partial_stats_ = nullptr;
  int32_t* arrivals_ = nullptr;
  float* part_sums_ = nullptr;
  float* part_stats_ = nullptr;
  int32_t v_dim_max_ = 0;
  std::optional<TensorMaps> maps_;  // where there is a copy engine
  // By pool, bytes of a row, rows and slabs of a box: pools stay where they are.
  std::map<std::tuple<const void*, int32_t, int32_t, int32_t>, CUtensorMap> pool_maps_;
};

}  // namespace mimo::kernels::cuda
