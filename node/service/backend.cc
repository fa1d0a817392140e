#include "node/service/backend.h"

#include <utility>

#include "base/log.h"
#include "parallel/ucx_endpoint.h"

namespace mimo::node {
namespace {

Result<kernels::CpuMode> cpu_mode(const std::string& mode) {
  // On the CPU a row's bits are its own in every mode.
  if (mode == "f32" || mode == "auto" || mode == "invariant") return kernels::CpuMode::kF32;
  if (mode == "device") return kernels::CpuMode::kDevice;
  return invalid_argument("mode \"" + mode + "\"; expected auto, f32, device or invariant");
}

}  // namespace

Result<std::unique_ptr<Backend>> Backend::open(const WorkerConfig& config) {
  std::unique_ptr<Backend> out(new Backend(config));
  if (config.backend != "cuda") return out;
  TRY_ASSIGN(CudaBackend* const cuda, CudaModule::load("worker", config.level()));
  TRY_ASSIGN(out->device_, cuda->open_device(config.device));
  const CudaDeviceInfo info = out->device_info();
  log_info("cuda_device", {{"device", config.device},
                           {"name", info.name},
                           {"capability", info.capability},
                           {"total_bytes", info.total_bytes},
                           {"free_bytes", info.free_bytes}});
  return out;
}

Result<std::unique_ptr<kernels::Ops>> Backend::make_ops(const std::string& mode) const {
  if (is_cuda()) {
    const bool batch_invariant = mode == "invariant";
    if (mode != "auto" && mode != "device" && !batch_invariant) {
      return invalid_argument("mode \"" + mode +
                              "\"; the cuda backend has auto, device and invariant");
    }
    return device_->make_ops(config_.memory_bytes_max, batch_invariant);
  }
  kernels::CpuOptions cpu;
  TRY_ASSIGN(cpu.mode, cpu_mode(mode));
  cpu.num_threads = config_.threads;
  cpu.memory_bytes_max = config_.memory_bytes_max;
  return kernels::make_cpu_ops(cpu);
}

Result<std::unique_ptr<parallel::GroupEndpoint>> Backend::open_endpoint(
    int32_t rank, int32_t size, const std::string& bind_host) const {
  if (is_cuda()) return device_->open_group_endpoint(/*is_rank_0=*/rank == 0 && size > 1);
  if (size == 1) return std::unique_ptr<parallel::GroupEndpoint>();
  parallel::UcxEndpoint::Options options;
  options.bind_host = bind_host;
  TRY_ASSIGN(auto endpoint, parallel::UcxEndpoint::open(options));
  return std::unique_ptr<parallel::GroupEndpoint>(std::move(endpoint));
}

Result<int64_t> DeviceBudget::kv_bytes() const {
  const auto may_take = static_cast<int64_t>(static_cast<double>(total_bytes) * fraction);
  const int64_t left = may_take - used_bytes - weight_bytes - workspace_bytes - reserve_bytes;
  const int64_t rounded = left / kStep * kStep;
  if (rounded > 0) return rounded;
  return Error{Code::kResourceExhausted,
               "no memory for K and V: of " + std::to_string(total_bytes) + " bytes " +
                   std::to_string(may_take) + " may be taken, " + std::to_string(used_bytes) +
                   " are in use, and weights need " + std::to_string(weight_bytes) +
                   ", workspace " + std::to_string(workspace_bytes) +
                   ", graphs and communicators " + std::to_string(reserve_bytes)};
}

}  // namespace mimo::node
