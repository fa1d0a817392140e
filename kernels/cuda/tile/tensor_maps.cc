#include "kernels/cuda/tile/tensor_maps.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <string>

#include "base/check.h"

namespace mimo::kernels::cuda {
namespace {

constexpr cuuint32_t kBoxBytes = 128;  // of a row: what the swizzle spans

}  // namespace

Result<TensorMaps> TensorMaps::create() {
  void* found = nullptr;
  cudaDriverEntryPointQueryResult result = cudaDriverEntryPointSymbolNotFound;
  const cudaError_t error = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found,
                                                             12000, cudaEnableDefault, &result);
  if (error != cudaSuccess || result != cudaDriverEntryPointSuccess || found == nullptr) {
    return Error{Code::kFailedPrecondition,
                 std::string("the driver has no cuTensorMapEncodeTiled (query result ") +
                     std::to_string(static_cast<int>(result)) + ", " + cudaGetErrorString(error) +
                     "); expected a driver of CUDA 12 or later"};
  }
  return TensorMaps(reinterpret_cast<Encode>(found));
}

const CUtensorMap& TensorMaps::weight(const DeviceMatrix& w, int32_t box_rows) {
  CHECK(w.dtype == DType::kF8E4m3);
  const auto at = weights_.find(w.values);
  if (at != weights_.end()) {
    const DeviceMatrix& of = at->second.of;
    CHECK(of.count == w.count && of.rows == w.rows && of.cols == w.cols && of.ld == w.ld);
    return at->second.map;
  }
  const cuuint64_t sizes[] = {static_cast<cuuint64_t>(w.cols), static_cast<cuuint64_t>(w.rows),
                              static_cast<cuuint64_t>(w.count)};
  const cuuint64_t strides[] = {static_cast<cuuint64_t>(w.ld),
                                static_cast<cuuint64_t>(w.value_bytes())};
  const cuuint32_t box[] = {kBoxBytes, static_cast<cuuint32_t>(box_rows), 1};
  const CUtensorMap map = encode(w.values, 3, sizes, strides, box);
  return weights_.emplace(w.values, Made{w, map}).first->second.map;
}

CUtensorMap TensorMaps::rows(const void* values, int64_t num_rows, int64_t row_bytes,
                             int32_t box_rows) const {
  const cuuint64_t sizes[] = {static_cast<cuuint64_t>(row_bytes),
                              static_cast<cuuint64_t>(num_rows)};
  const cuuint64_t strides[] = {static_cast<cuuint64_t>(row_bytes)};
  const cuuint32_t box[] = {kBoxBytes, static_cast<cuuint32_t>(box_rows)};
  return encode(values, 2, sizes, strides, box);
}

CUtensorMap TensorMaps::slabs(const void* values, int64_t num_rows, int64_t row_bytes,
                              int32_t box_rows, int32_t box_slabs) const {
  CHECK(row_bytes <= kBoxBytes || row_bytes % kBoxBytes == 0);
  const int64_t slab_bytes = std::min<int64_t>(row_bytes, kBoxBytes);
  const cuuint64_t sizes[] = {static_cast<cuuint64_t>(slab_bytes),
                              static_cast<cuuint64_t>(num_rows),
                              static_cast<cuuint64_t>(row_bytes / slab_bytes)};
  const cuuint64_t strides[] = {static_cast<cuuint64_t>(row_bytes), kBoxBytes};
  const cuuint32_t box[] = {kBoxBytes, static_cast<cuuint32_t>(box_rows),
                            static_cast<cuuint32_t>(box_slabs)};
  return encode(values, 3, sizes, strides, box);
}

CUtensorMap TensorMaps::paired_rows(const DeviceMatrix& w, const PairedRows& view) const {
  const int64_t size = dtype_bytes(w.dtype);
  const auto row = static_cast<cuuint64_t>(w.ld * size);
  const cuuint64_t sizes[] = {static_cast<cuuint64_t>(w.cols * size), 8, 2,
                              static_cast<cuuint64_t>(view.groups),
                              static_cast<cuuint64_t>(view.blocks)};
  const cuuint64_t strides[] = {row, row * static_cast<cuuint64_t>(view.pair_rows),
                                row * static_cast<cuuint64_t>(view.group_rows),
                                row * static_cast<cuuint64_t>(view.block_rows)};
  const cuuint32_t box[] = {kBoxBytes, 8, 2, static_cast<cuuint32_t>(view.box_groups),
                            static_cast<cuuint32_t>(view.box_blocks)};
  // What is read once comes fastest without neighbours that another box asks for: an H200 reads 1
  // GB of these boxes in 234 us so, and in 248 us with 256 bytes.
  return encode(w.values, 5, sizes, strides, box, CU_TENSOR_MAP_L2_PROMOTION_L2_128B);
}

CUtensorMap TensorMaps::encode(const void* values, int32_t rank, const cuuint64_t* sizes,
                               const cuuint64_t* strides, const cuuint32_t* box,
                               CUtensorMapL2promotion promotion) const {
  const cuuint32_t steps[] = {1, 1, 1, 1, 1};
  CUtensorMap map;
  const CUresult result =
      encode_(&map, CU_TENSOR_MAP_DATA_TYPE_UINT8, static_cast<cuuint32_t>(rank),
              const_cast<void*>(values), sizes, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
              CU_TENSOR_MAP_SWIZZLE_128B, promotion, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  CHECK_EQ(static_cast<int>(result), static_cast<int>(CUDA_SUCCESS));
  return map;
}

}  // namespace mimo::kernels::cuda
