#pragma once

#include <cuda_runtime.h>

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/dtype.h"
#include "base/result.h"
#include "kernels/ops.h"

namespace mimo::kernels::cuda {

// Weights in device memory: `count` matrices [rows, ld], one behind the other, each row's columns
// from `cols` on zero. Rows begin at multiples of 16 bytes, every matrix at a multiple of 128.
//   values [count][rows][ld] dtype (kBf16 or kF8E4m3)
//   scales [count][ceil(rows / rows_per_scale)][scale_cols], kF8E4m3 only
struct DeviceMatrix {
  const void* values = nullptr;
  const float* scales = nullptr;
  DType dtype = DType::kBf16;
  int32_t count = 1;
  int32_t rows = 0;
  int32_t cols = 0;
  int32_t ld = 0;  // elements
  int32_t rows_per_scale = 128;
  int32_t scale_cols = 0;  // ceil(cols / 128)

  int32_t scale_rows() const { return (rows + rows_per_scale - 1) / rows_per_scale; }
  int64_t value_bytes() const { return int64_t{rows} * ld * dtype_bytes(dtype); }  // of one
  int64_t num_scales() const { return int64_t{scale_rows()} * scale_cols; }        // of one
};

struct CudaOptions {
  int32_t device = 0;            // ordinal
  int64_t memory_bytes_max = 0;  // 0 = no bound of its own
  bool record = true;            // false: Ops::recorded() runs its body at every call
  bool random_pools = false;     // K and V begin as normal deviates instead of zeros: for benches
  // A row's bits do not depend on the step's other rows; kernels/README.md says how far it goes.
  bool batch_invariant = false;
};

// One device, one stream, and all memory that this backend takes on it.
//
// Thread:    one.
// Lifetime:  everything that allocate() gave lives as long as this.
class DeviceContext {
 public:
  // kFailedPrecondition: no such device, or one older than compute capability 8.0.
  static Result<std::unique_ptr<DeviceContext>> create(const CudaOptions& options);
  ~DeviceContext();
  DeviceContext(const DeviceContext&) = delete;
  DeviceContext& operator=(const DeviceContext&) = delete;

  const CudaOptions& options() const { return options_; }
  int32_t device() const { return options_.device; }
  // CUDA keeps a current device for each thread: before a thread's first work here, and after it
  // worked on another device.
  void make_current() const;
  int32_t num_sms() const { return num_sms_; }
  int32_t capability() const { return capability_; }              // 90, 100
  int32_t shared_bytes_max() const { return shared_bytes_max_; }  // that a block may ask for
  cudaStream_t stream() const { return stream_; }

  // Zeroed; multiples of 256 bytes. kResourceExhausted with the figures.
  Result<void*> allocate(int64_t bytes, Purpose purpose);
  template <typename T>
  Result<T*> allocate_array(int64_t count, Purpose purpose) {
    TRY_ASSIGN(void* const memory, allocate(count * int64_t{sizeof(T)}, purpose));
    return static_cast<T*>(memory);
  }
  // Zeroed and pinned.
  Result<void*> allocate_host(int64_t bytes);
  // Memory that others took on the device for us (graphs, communicators), for the books.
  void count(Purpose purpose, int64_t bytes);
  std::array<int64_t, kNumPurposes> bytes_by_purpose() const { return bytes_; }

  // Tables behind the handles of ops.h.
  Linear add_matrix(const DeviceMatrix& matrix);
  LinearStack add_stack(const DeviceMatrix& matrices);
  const DeviceMatrix& matrix(Linear linear) const;
  const DeviceMatrix& stack(LinearStack stack) const;

 private:
  explicit DeviceContext(const CudaOptions& options) : options_(options) {}

  const CudaOptions options_;
  int32_t num_sms_ = 0;
  int32_t capability_ = 0;
  int32_t shared_bytes_max_ = 0;
  cudaStream_t stream_ = nullptr;
  std::array<int64_t, kNumPurposes> bytes_ = {};
  std::vector<void*> device_memory_;
  std::vector<void*> host_memory_;
  std::vector<DeviceMatrix> matrices_;
  std::vector<DeviceMatrix> stacks_;
};

}  // namespace mimo::kernels::cuda
