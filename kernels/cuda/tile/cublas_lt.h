#pragma once

#include <cublasLt.h>
#include <cuda_runtime.h>

#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <type_traits>

#include "base/result.h"
#include "kernels/cuda/device_context.h"

namespace mimo::kernels::cuda {

// Dense bf16 products by cuBLASLt, sums in f32. Which algorithm serves a shape is asked once, the
// first time that it comes; later calls, and those that a graph records, only launch.
//
// Thread:    one.
// Lifetime:  `context` outlives it.
class CublasLt {
 public:
  // kFailedPrecondition: the library does not start. kResourceExhausted: no room for its workspace.
  static Result<std::unique_ptr<CublasLt>> create(DeviceContext& context);

  // out[num_rows, w.rows] = a w^T; bf16, or f32 where out_f32. Pointers at multiples of 16 bytes.
  void multiply(const void* a, const DeviceMatrix& w, void* out, bool out_f32, int32_t num_rows);

 private:
  struct Destroy {
    void operator()(cublasLtHandle_t handle) const { cublasLtDestroy(handle); }
  };
  using Handle = std::unique_ptr<std::remove_pointer_t<cublasLtHandle_t>, Destroy>;

  // What the choice of an algorithm rests on.
  struct Shape {
    int32_t num_rows;
    int32_t rows;
    int32_t cols;
    int32_t ld;
    bool out_f32;
    auto operator<=>(const Shape&) const = default;
  };
  struct Problem;

  CublasLt(DeviceContext& context, Handle handle, void* workspace)
      : context_(context), handle_(std::move(handle)), workspace_(workspace) {}
  cublasLtMatmulAlgo_t search(const Shape& shape, Problem& problem) const;

  DeviceContext& context_;
  Handle handle_;
  void* workspace_;
  std::map<Shape, cublasLtMatmulAlgo_t> algorithms_;
};

}  // namespace mimo::kernels::cuda
