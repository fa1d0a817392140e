#pragma once

#include <cstdint>
#include <vector>

#include "kernels/ops.h"

namespace mimo::kernels {

// A weight in panels of 16 outputs (simd.h), the last one filled up with zeros. bf16 weights stay
// bf16. FP8 weights become floats (kF32), or keep their e4m3 values as bf16, which holds them
// exactly, beside their scales (kDevice).
class PackedLinear {
 public:
  // kInvalidArgument names what does not fit.
  static Result<PackedLinear> pack(const HostLinear& weight, CpuMode mode);
  static int64_t packed_bytes(const HostLinear& weight, CpuMode mode);

  int32_t rows() const { return rows_; }
  int32_t cols() const { return cols_; }
  int32_t num_panels() const { return num_panels_; }
  int32_t num_groups() const { return num_groups_; }  // of 128 inputs
  bool bf16() const { return !halves_.empty(); }
  bool scaled() const { return !scales_.empty(); }
  // [panels][cols][16]
  const void* panel(int32_t panel) const;
  // [groups][16] of one panel
  const float* panel_scales(int32_t panel) const;
  // w[row, col], its scale applied.
  float value(int32_t row, int32_t col) const;

 private:
  int32_t rows_ = 0;
  int32_t cols_ = 0;
  int32_t num_panels_ = 0;
  int32_t num_groups_ = 0;
  std::vector<float> floats_;  // one of the two
  std::vector<uint16_t> halves_;
  std::vector<float> scales_;  // [panels][groups][16]
};

// Weights of one shape; one that was not loaded has no rows.
struct PackedStack {
  StackShape shape;
  std::vector<PackedLinear> weights;  // [shape.count]
};

}  // namespace mimo::kernels
