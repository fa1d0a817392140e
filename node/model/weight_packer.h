#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "checkpoint/checkpoint.h"
#include "kernels/ops.h"
#include "parallel/shard.h"

namespace mimo::node {

// One matrix of a rank, cut and fused, in host memory.
struct PackedLinear {
  DType dtype = DType::kBf16;
  int64_t rows = 0;
  int64_t cols = 0;
  std::vector<uint8_t> bytes;  // [rows, cols] dtype
  std::vector<float> scales;   // kF8E4m3: [ceil(rows / rows_per_scale), ceil(cols / 128)]
  int32_t rows_per_scale = 128;

  kernels::HostLinear view() const { return {dtype, rows, cols, bytes, scales, rows_per_scale}; }
  int64_t num_bytes() const {
    return static_cast<int64_t>(bytes.size() + scales.size() * sizeof(float));
  }
};

// Cuts a checkpoint's matrices for one rank and lays them together as kernels::Ops takes them.
// Values and scales are copied, never recomputed.
//
// Thread:    const, any.
// Lifetime:  borrows the checkpoint and the shard.
class WeightPacker {
 public:
  WeightPacker(const checkpoint::Checkpoint& checkpoint, const parallel::RankShard& shard)
      : checkpoint_(checkpoint), config_(checkpoint.config()), shard_(shard) {}

  // [Q | K | V] rows of the rank's heads.
  Result<PackedLinear> qkv(int32_t layer) const;
  // Columns of the rank's q heads.
  Result<PackedLinear> o_proj(int32_t layer) const;
  // Rows `cols` of `prefix` + "gate_proj.weight" and then of up_proj; columns of down_proj.
  Result<PackedLinear> gate_up(const std::string& prefix, parallel::Range cols) const;
  Result<PackedLinear> down(const std::string& prefix, parallel::Range cols) const;
  // The rank's rows; rows past the vocabulary are zero.
  Result<PackedLinear> vocab_rows(const std::string& name) const;
  // `range` of a vector, or a whole tensor where the range is empty, as floats.
  Result<std::vector<float>> floats(const std::string& name, parallel::Range range = {}) const;

 private:
  // Some rows and columns of one tensor.
  struct Piece {
    std::string name;
    parallel::Range rows;
    parallel::Range cols;
  };
  // The pieces one below the other, then zero rows; scales are left to the caller.
  Result<PackedLinear> pack(const std::vector<Piece>& pieces, int64_t zero_rows = 0) const;
  Result<void> add_qkv_scales(int32_t layer, PackedLinear& packed) const;
  Result<void> add_down_scales(const std::string& name, parallel::Range cols,
                               PackedLinear& packed) const;
  parallel::Range hidden() const { return {0, config_.hidden}; }

  const checkpoint::Checkpoint& checkpoint_;
  const checkpoint::ModelConfig& config_;
  const parallel::RankShard& shard_;
};

// "model.layers.3."
std::string layer_prefix(int32_t layer);

}  // namespace mimo::node
