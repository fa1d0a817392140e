#include "kernels/cuda/device_context.h"

#include <algorithm>
#include <string>

#include "kernels/cuda/cuda_check.h"

namespace mimo::kernels::cuda {
namespace {

constexpr int64_t kAlign = 256;

Result<void> start_up(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return {};
  return Error{Code::kFailedPrecondition, std::string(what) + ": " + cudaGetErrorString(error)};
}

}  // namespace

Result<std::unique_ptr<DeviceContext>> DeviceContext::create(const CudaOptions& options) {
  int num_devices = 0;
  TRY(start_up(cudaGetDeviceCount(&num_devices), "cudaGetDeviceCount"));
  if (options.device < 0 || options.device >= num_devices) {
    return Error{Code::kFailedPrecondition, "device " + std::to_string(options.device) +
                                                "; expected 0 to " +
                                                std::to_string(num_devices - 1)};
  }
  TRY(start_up(cudaSetDevice(options.device), "cudaSetDevice"));
  cudaDeviceProp properties;
  TRY(start_up(cudaGetDeviceProperties(&properties, options.device), "cudaGetDeviceProperties"));
  std::unique_ptr<DeviceContext> context(new DeviceContext(options));
  context->capability_ = properties.major * 10 + properties.minor;
  if (context->capability_ < 80) {
    return Error{Code::kFailedPrecondition,
                 std::string(properties.name) + " has compute capability " +
                     std::to_string(properties.major) + "." + std::to_string(properties.minor) +
                     "; expected 8.0 or later"};
  }
  context->num_sms_ = properties.multiProcessorCount;
  context->shared_bytes_max_ = static_cast<int32_t>(properties.sharedMemPerBlockOptin);
  TRY(start_up(cudaStreamCreateWithFlags(&context->stream_, cudaStreamNonBlocking),
               "cudaStreamCreateWithFlags"));
  return context;
}

DeviceContext::~DeviceContext() {
  (void)cudaSetDevice(options_.device);
  if (stream_ != nullptr) {
    cudaStreamSynchronize(stream_);
    cudaStreamDestroy(stream_);
  }
  for (auto it = device_memory_.rbegin(); it != device_memory_.rend(); ++it) cudaFree(*it);
  for (auto it = host_memory_.rbegin(); it != host_memory_.rend(); ++it) cudaFreeHost(*it);
}

void DeviceContext::make_current() const { CUDA_CHECK(cudaSetDevice(options_.device)); }

Result<void*> DeviceContext::allocate(int64_t bytes, Purpose purpose) {
  CHECK_GE(bytes, 0);
  const int64_t rounded = std::max<int64_t>((bytes + kAlign - 1) / kAlign * kAlign, kAlign);
  int64_t taken = 0;
  for (const int64_t part : bytes_) taken += part;
  void* memory = nullptr;
  const bool within =
      options_.memory_bytes_max == 0 || taken + rounded <= options_.memory_bytes_max;
  if (!within || cudaMalloc(&memory, static_cast<size_t>(rounded)) != cudaSuccess) {
    (void)cudaGetLastError();
    size_t free_bytes = 0;
    size_t total_bytes = 0;
    (void)cudaMemGetInfo(&free_bytes, &total_bytes);
    return Error{
        Code::kResourceExhausted,
        std::to_string(rounded) + " bytes of " + purpose_name(purpose) + " on device " +
            std::to_string(options_.device) + ": " + std::to_string(taken) + " are taken here, " +
            std::to_string(free_bytes) + " of " + std::to_string(total_bytes) + " free" +
            (options_.memory_bytes_max > 0 ? ", bound " + std::to_string(options_.memory_bytes_max)
                                           : std::string())};
  }
  device_memory_.push_back(memory);
  bytes_[static_cast<size_t>(purpose)] += rounded;
  CUDA_CHECK(cudaMemsetAsync(memory, 0, static_cast<size_t>(rounded), stream_));
  return memory;
}

Result<void*> DeviceContext::allocate_host(int64_t bytes) {
  void* memory = nullptr;
  const auto size = static_cast<size_t>(std::max<int64_t>(bytes, 1));
  const cudaError_t error = cudaMallocHost(&memory, size);
  if (error != cudaSuccess) {
    (void)cudaGetLastError();
    return Error{
        Code::kResourceExhausted,
        std::to_string(bytes) + " bytes of pinned host memory: " + cudaGetErrorString(error)};
  }
  host_memory_.push_back(memory);
  std::fill_n(static_cast<char*>(memory), size, char{0});
  return memory;
}

void DeviceContext::count(Purpose purpose, int64_t bytes) {
  bytes_[static_cast<size_t>(purpose)] += bytes;
}

Linear DeviceContext::add_matrix(const DeviceMatrix& matrix) {
  CHECK_EQ(matrix.count, 1);
  matrices_.push_back(matrix);
  return {static_cast<int32_t>(matrices_.size()) - 1, matrix.rows, matrix.cols};
}

LinearStack DeviceContext::add_stack(const DeviceMatrix& matrices) {
  stacks_.push_back(matrices);
  return {static_cast<int32_t>(stacks_.size()) - 1, matrices.count, matrices.rows, matrices.cols};
}

const DeviceMatrix& DeviceContext::matrix(Linear linear) const {
  CHECK(linear.index >= 0 && linear.index < static_cast<int32_t>(matrices_.size()));
  return matrices_[static_cast<size_t>(linear.index)];
}

const DeviceMatrix& DeviceContext::stack(LinearStack stack) const {
  CHECK(stack.index >= 0 && stack.index < static_cast<int32_t>(stacks_.size()));
  return stacks_[static_cast<size_t>(stack.index)];
}

}  // namespace mimo::kernels::cuda
