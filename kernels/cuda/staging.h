#pragma once

#include <cuda_runtime.h>

#include <array>
#include <cstdint>
#include <memory>

#include "base/result.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/cuda/device_context.h"

namespace mimo::kernels::cuda {

// Copies from ordinary host memory through a ring of pinned buffers: the source is free again when
// a call returns, while the bytes may still be on their way. Several threads fill a buffer, so that
// reading mapped files keeps up with the bus.
//
// Thread:    one.
// Lifetime:  `context` outlives it.
class Staging {
 public:
  static Result<std::unique_ptr<Staging>> create(DeviceContext& context);
  ~Staging();
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  // Queues the copy in the context's stream.
  void copy(void* to, const void* from, int64_t bytes);
  // The same for rows of `row_bytes`, which lie `to_stride` bytes apart on the device; what is
  // between them there is written with zeros.
  void copy_rows(void* to, int64_t to_stride, const void* from, int64_t row_bytes,
                 int64_t num_rows);

 private:
  static constexpr int32_t kNumBuffers = 8;
  static constexpr int64_t kBufferBytes = int64_t{4} << 20;

  struct Buffer {
    uint8_t* memory = nullptr;
    cudaEvent_t free = nullptr;  // when the copies out of it are done
  };

  explicit Staging(DeviceContext& context);
  // Pinned memory of this size that no copy reads any more; at most kBufferBytes.
  uint8_t* take(int64_t bytes);

  DeviceContext& context_;
  ThreadPool threads_;
  std::array<Buffer, kNumBuffers> buffers_;
  int32_t current_ = 0;
  int64_t used_ = 0;  // of the current buffer
};

}  // namespace mimo::kernels::cuda
