#pragma once

#include <cuda.h>

#include <cstdint>
#include <unordered_map>

#include "base/result.h"
#include "kernels/cuda/device_context.h"

namespace mimo::kernels::cuda {

// A weight's rows as pairs of eight rows that a box brings side by side: pair i of block b is rows
// b * block_rows + i * group_rows and the seven after them, and those `pair_rows` further down.
struct PairedRows {
  int32_t pair_rows = 0;
  int32_t group_rows = 0;
  int32_t groups = 0;  // pairs in a block
  int32_t block_rows = 0;
  int32_t blocks = 0;
  int32_t box_groups = 0;
  int32_t box_blocks = 0;
};

// Tensor maps for TMA: boxes of 128 bytes by some rows, with the 128-byte swizzle. The driver's
// function is looked up at run time, so that the program starts where there is no driver.
//
// Thread:    one.
// Lifetime:  the maps are values; a weight stays where it was when its map was made.
class TensorMaps {
 public:
  // kFailedPrecondition: the driver has no cuTensorMapEncodeTiled.
  static Result<TensorMaps> create();

  // An e4m3 weight [count][rows][ld]: x columns, y rows, z which of them. Made once.
  const CUtensorMap& weight(const DeviceMatrix& w, int32_t box_rows);
  // Bytes [num_rows][row_bytes], rows contiguous; row_bytes a multiple of 16.
  CUtensorMap rows(const void* values, int64_t num_rows, int64_t row_bytes, int32_t box_rows) const;
  // The same as slabs of 128 bytes, one behind the other in a box: x bytes of a slab, y rows, z
  // slabs. Rows of more than one slab are whole slabs.
  CUtensorMap slabs(const void* values, int64_t num_rows, int64_t row_bytes, int32_t box_rows,
                    int32_t box_slabs) const;
  // A weight of any dtype: x bytes, then eight rows, the two of a pair, y pairs, z blocks.
  CUtensorMap paired_rows(const DeviceMatrix& w, const PairedRows& view) const;

 private:
  using Encode = CUresult (*)(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*,
                              const cuuint64_t*, const cuuint64_t*, const cuuint32_t*,
                              const cuuint32_t*, CUtensorMapInterleave, CUtensorMapSwizzle,
                              CUtensorMapL2promotion, CUtensorMapFloatOOBfill);
  struct Made {
    DeviceMatrix of;
    CUtensorMap map;
  };

  explicit TensorMaps(Encode encode) : encode_(encode) {}
  CUtensorMap encode(const void* values, int32_t rank, const cuuint64_t* sizes,
                     const cuuint64_t* strides, const cuuint32_t* box,
                     CUtensorMapL2promotion promotion = CU_TENSOR_MAP_L2_PROMOTION_L2_256B) const;

  Encode encode_;
  std::unordered_map<const void*, Made> weights_;  // by where the values lie
};

}  // namespace mimo::kernels::cuda
