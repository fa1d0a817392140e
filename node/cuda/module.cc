#include <cuda_runtime.h>

#include <utility>

#include "base/log.h"
#include "kernels/cuda/cuda_check.h"
#include "kernels/cuda/cuda_ops.h"
#include "node/model/cuda_module.h"
#include "parallel/cuda/nccl_comm.h"
#include "parallel/cuda/nccl_endpoint.h"
#include "parallel/cuda/peer_memory.h"

// The inside of libmimo_cuda.so; its door is node/model/cuda_module.h.
namespace mimo::node {
namespace {

using parallel::cuda::NcclEndpoint;
using parallel::cuda::PeerMemory;

class Device final : public CudaDevice {
 public:
  explicit Device(std::unique_ptr<PeerMemory> memory) : memory_(std::move(memory)) {}

  CudaDeviceInfo info() const override {
    cudaDeviceProp properties;
    CUDA_CHECK(cudaSetDevice(memory_->device()));
    CUDA_CHECK(cudaGetDeviceProperties(&properties, memory_->device()));
    size_t free_bytes = 0, total_bytes = 0;
    CUDA_CHECK(cudaMemGetInfo(&free_bytes, &total_bytes));
    return {.name = properties.name,
            .capability = properties.major * 10 + properties.minor,
            .total_bytes = static_cast<int64_t>(total_bytes),
            .free_bytes = static_cast<int64_t>(free_bytes)};
  }

  Result<std::unique_ptr<kernels::Ops>> make_ops(int64_t memory_bytes_max,
                                                 bool batch_invariant) override {
    TRY_ASSIGN(auto ops, kernels::cuda::make_cuda_ops({.device = memory_->device(),
                                                       .memory_bytes_max = memory_bytes_max,
                                                       .batch_invariant = batch_invariant}));
    return std::unique_ptr<kernels::Ops>(std::move(ops));
  }

  Result<std::unique_ptr<parallel::GroupEndpoint>> open_group_endpoint(bool is_rank_0) override {
    TRY_ASSIGN(auto endpoint,
               NcclEndpoint::open(*memory_, {.is_rank_0 = is_rank_0, .algorithm = std::nullopt}));
    return std::unique_ptr<parallel::GroupEndpoint>(std::move(endpoint));
  }

 private:
  const std::unique_ptr<PeerMemory> memory_;
};

class Backend final : public CudaBackend {
 public:
  int32_t num_devices() const override { return kernels::cuda::num_devices(); }

  Result<std::unique_ptr<CudaDevice>> open_device(int32_t device) override {
    if (device < 0 || device >= num_devices()) {
      return Error{Code::kFailedPrecondition, "device " + std::to_string(device) +
                                                  "; this host has " +
                                                  std::to_string(num_devices()) + " for CUDA"};
    }
    TRY_ASSIGN(auto memory, PeerMemory::create(device));
    return std::unique_ptr<CudaDevice>(std::make_unique<Device>(std::move(memory)));
  }
};

CudaBackend& open_backend(const char* process, LogLevel level) {
  log_configure(process, level);
  parallel::cuda::forbid_multicast();
  // Lives as long as the process: nothing of it is to be taken down at exit.
  static auto* const backend = new Backend;
  return *backend;
}

}  // namespace
}  // namespace mimo::node

extern "C" __attribute__((visibility("default")))
const mimo::node::CudaModuleEntry mimo_cuda_module;
const mimo::node::CudaModuleEntry mimo_cuda_module = {MIMO_CUDA_ABI, mimo::node::open_backend};
