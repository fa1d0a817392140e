#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"
#include "kernels/ops.h"
#include "node/model/cuda_module.h"
#include "node/service/config.h"
#include "parallel/group_endpoint.h"

namespace mimo::node {

// What this worker computes on: the CPU's cores, or one GPU.
//
// Thread:    one at a time.
// Lifetime:  outlives the Ops and the groups made with it.
class Backend final {
 public:
  // Before the process has threads: CUDA's module is loaded here. kFailedPrecondition: there is no
  // such module or device.
  static Result<std::unique_ptr<Backend>> open(const WorkerConfig& config);

  bool is_cuda() const { return device_ != nullptr; }
  // `mode` as AssignRank has it; "auto" is "device" on a GPU and "f32" on the CPU.
  Result<std::unique_ptr<kernels::Ops>> make_ops(const std::string& mode) const;
  // This worker's end of a group. Null for a group of one on the CPU, which needs none.
  Result<std::unique_ptr<parallel::GroupEndpoint>> open_endpoint(
      int32_t rank, int32_t size, const std::string& bind_host) const;
  // The device's memory; none of the CPU's.
  CudaDeviceInfo device_info() const { return device_->info(); }

 private:
  explicit Backend(const WorkerConfig& config) : config_(config) {}

  const WorkerConfig config_;
  std::unique_ptr<CudaDevice> device_;  // null: the CPU
};

// What may be spent on K and V on a device: the fraction of it that may be taken, less what is in
// use, less all that is still to come. Rounded down to a step that hides small differences between
// devices, so that ranks on like devices come to the same figure.
struct DeviceBudget {
  int64_t total_bytes = 0;
  double fraction = 0.9;
  int64_t used_bytes = 0;  // already, by whoever
  int64_t weight_bytes = 0;
  int64_t workspace_bytes = 0;
  int64_t reserve_bytes = 0;  // graphs, communicators, and what weights take beyond their bytes

  static constexpr int64_t kStep = int64_t{64} << 20;
  // kResourceExhausted, with the figures, when nothing is left.
  Result<int64_t> kv_bytes() const;
};

}  // namespace mimo::node
