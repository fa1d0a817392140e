#include "kernels/cuda/staging.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <thread>

#include "kernels/cuda/cuda_check.h"

namespace mimo::kernels::cuda {
namespace {

constexpr int64_t kAlign = 64;
constexpr int32_t kThreadsMax = 8;
constexpr int64_t kBytesPerItem = int64_t{256} << 10;  // of one thread's turn

int32_t num_threads() {
  return std::clamp(static_cast<int32_t>(std::thread::hardware_concurrency()), 1, kThreadsMax);
}

}  // namespace

Staging::Staging(DeviceContext& context) : context_(context), threads_(num_threads()) {}

Result<std::unique_ptr<Staging>> Staging::create(DeviceContext& context) {
  std::unique_ptr<Staging> staging(new Staging(context));
  TRY_ASSIGN(void* const memory, context.allocate_host(kNumBuffers * kBufferBytes));
  for (int32_t i = 0; i < kNumBuffers; ++i) {
    Buffer& buffer = staging->buffers_[static_cast<size_t>(i)];
    buffer.memory = static_cast<uint8_t*>(memory) + i * kBufferBytes;
    const cudaError_t error =
        cudaEventCreateWithFlags(&buffer.free, cudaEventDisableTiming | cudaEventBlockingSync);
    if (error != cudaSuccess) {
      return Error{Code::kFailedPrecondition,
                   std::string("cudaEventCreateWithFlags: ") + cudaGetErrorString(error)};
    }
  }
  return staging;
}

Staging::~Staging() {
  for (const Buffer& buffer : buffers_) {
    if (buffer.free != nullptr) (void)cudaEventDestroy(buffer.free);
  }
}

uint8_t* Staging::take(int64_t bytes) {
  CHECK_LE(bytes, kBufferBytes);
  if (used_ + bytes > kBufferBytes) {
    CUDA_CHECK(cudaEventRecord(buffers_[static_cast<size_t>(current_)].free, context_.stream()));
    current_ = (current_ + 1) % kNumBuffers;
    used_ = 0;
    CUDA_CHECK(cudaEventSynchronize(buffers_[static_cast<size_t>(current_)].free));
  }
  uint8_t* const out = buffers_[static_cast<size_t>(current_)].memory + used_;
  used_ += (bytes + kAlign - 1) / kAlign * kAlign;
  return out;
}

void Staging::copy(void* to, const void* from, int64_t bytes) {
  for (int64_t at = 0; at < bytes; at += kBufferBytes) {
    const int64_t part = std::min(kBufferBytes, bytes - at);
    const uint8_t* const source = static_cast<const uint8_t*>(from) + at;
    uint8_t* const memory = take(part);
    threads_.run((part + kBytesPerItem - 1) / kBytesPerItem, part, [&](int64_t i) {
      const int64_t begin = i * kBytesPerItem;
      std::memcpy(memory + begin, source + begin,
                  static_cast<size_t>(std::min(kBytesPerItem, part - begin)));
    });
    CUDA_CHECK(cudaMemcpyAsync(static_cast<uint8_t*>(to) + at, memory, static_cast<size_t>(part),
                               cudaMemcpyHostToDevice, context_.stream()));
  }
}

void Staging::copy_rows(void* to, int64_t to_stride, const void* from, int64_t row_bytes,
                        int64_t num_rows) {
  CHECK(row_bytes > 0 && to_stride >= row_bytes && to_stride <= kBufferBytes);
  if (to_stride == row_bytes) return copy(to, from, num_rows * row_bytes);
  const int64_t rows_max = kBufferBytes / to_stride;
  for (int64_t first = 0; first < num_rows; first += rows_max) {
    const int64_t rows = std::min(rows_max, num_rows - first);
    const uint8_t* const source = static_cast<const uint8_t*>(from) + first * row_bytes;
    uint8_t* const memory = take(rows * to_stride);
    threads_.run(rows, rows * to_stride, [&](int64_t r) {
      uint8_t* const row = memory + r * to_stride;
      std::memcpy(row, source + r * row_bytes, static_cast<size_t>(row_bytes));
      std::memset(row + row_bytes, 0, static_cast<size_t>(to_stride - row_bytes));
    });
    CUDA_CHECK(cudaMemcpyAsync(static_cast<uint8_t*>(to) + first * to_stride, memory,
                               static_cast<size_t>(rows * to_stride), cudaMemcpyHostToDevice,
                               context_.stream()));
  }
}

}  // namespace mimo::kernels::cuda
