#pragma once

#include <array>
#include <memory>
#include <optional>
#include <unordered_map>

#include "base/result.h"
#include "kernels/cuda/device_context.h"
#include "kernels/cuda/product/stream.h"
#include "kernels/cuda/product/swap_plan.h"
#include "kernels/cuda/tile/tensor_maps.h"

namespace mimo::kernels::cuda::product {

// A weight's rows by boxes of 128, those of a pair side by side whose results belong together.
PairedRows paired_rows(const DeviceMatrix& w, StreamOut out_kind);

// stream() on SM90, weights through the copy engine and wgmma. FP8 sums keep some 13 bits over 128
// columns and are f32 from there on.
//
// Thread:    one.
// Lifetime:  `context` outlives it; a weight stays where it was at its first product.
class SwapStream {
 public:
  // On other parts: one that refuses everything.
  static Result<SwapStream> create(const DeviceContext& context);

  // What the choice of a shape looks at.
  SwapProblem problem_of(const DeviceMatrix& w, StreamOut out_kind, const QkvTarget* target) const;
  // How it would compute StreamParams with this weight, without looking at the shape in them. With
  // `shares` the next kernel finds room beside it.
  std::optional<SwapShape> choose(const DeviceMatrix& w, StreamOut out_kind,
                                  const QkvTarget* target, int32_t token_rows, double num_tiles,
                                  bool shares = false) const;
  // `shape` from choose(); params.shape is not read. Not grouped: one tile of tokens. `all_busy`:
  // nearly all of the weight's matrices have tokens, so that their first boxes are asked for before
  // the plan is there.
  void run(const StreamParams& params, const SwapShape& shape, bool all_busy = false);

 private:
  struct Made {
    DeviceMatrix of;
    StreamOut out_kind;
    CUtensorMap map;
  };

  explicit SwapStream(const DeviceContext& context) : context_(&context) {}
  const CUtensorMap& weight_map(const StreamParams& params);

  const DeviceContext* context_;
  std::optional<TensorMaps> maps_;              // SM90
  std::array<int32_t, 3> clusters_ = {};        // of 1, 2 and 4 blocks, that run at once
  std::unordered_map<const void*, Made> made_;  // by where the values lie
};

}  // namespace mimo::kernels::cuda::product
