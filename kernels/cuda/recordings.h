#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <functional>
#include <unordered_map>

#include "base/result.h"
#include "kernels/cuda/device_context.h"

namespace mimo::kernels::cuda {

// Bodies recorded as CUDA graphs: see Ops::recorded(). Their device memory is counted as kGraphs.
//
// Thread:    one.
// Lifetime:  `context` outlives it.
class Recordings {
 public:
  explicit Recordings(DeviceContext& context) : context_(context) {}
  ~Recordings();
  Recordings(const Recordings&) = delete;
  Recordings& operator=(const Recordings&) = delete;

  Result<void> run(uint64_t key, const std::function<Result<void>()>& body);
  // Waits for the stream.
  void forget();
  // True while a body is being recorded: nothing may be waited for or allocated then.
  bool recording() const { return recording_; }

 private:
  Result<cudaGraph_t> capture(const std::function<Result<void>()>& body);

  DeviceContext& context_;
  std::unordered_map<uint64_t, cudaGraphExec_t> graphs_;
  int64_t counted_bytes_ = 0;
  bool recording_ = false;
};

}  // namespace mimo::kernels::cuda
