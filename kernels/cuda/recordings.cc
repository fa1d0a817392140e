#include "kernels/cuda/recordings.h"

#include <algorithm>

#include "kernels/cuda/cuda_check.h"

namespace mimo::kernels::cuda {
namespace {

int64_t free_device_bytes() {
  size_t free_bytes = 0;
  size_t total_bytes = 0;
  CUDA_CHECK(cudaMemGetInfo(&free_bytes, &total_bytes));
  return static_cast<int64_t>(free_bytes);
}

}  // namespace

Recordings::~Recordings() {
  for (const auto& [key, graph] : graphs_) (void)cudaGraphExecDestroy(graph);
}

// Whatever happens in the body, the stream records no longer when this returns.
Result<cudaGraph_t> Recordings::capture(const std::function<Result<void>()>& body) {
  CUDA_CHECK(cudaStreamBeginCapture(context_.stream(), cudaStreamCaptureModeThreadLocal));
  recording_ = true;
  const Result<void> queued = body();
  recording_ = false;
  cudaGraph_t graph = nullptr;
  const cudaError_t ended = cudaStreamEndCapture(context_.stream(), &graph);
  if (!queued.ok()) {
    (void)cudaGetLastError();
    if (graph != nullptr) CUDA_CHECK(cudaGraphDestroy(graph));
    return queued.error();
  }
  CUDA_CHECK(ended);
  return graph;
}

Result<void> Recordings::run(uint64_t key, const std::function<Result<void>()>& body) {
  CHECK(!recording_);
  if (!context_.options().record) return body();
  auto found = graphs_.find(key);
  if (found == graphs_.end()) {
    const int64_t before = free_device_bytes();
    TRY_ASSIGN(const cudaGraph_t graph, capture(body));
    cudaGraphExec_t ready = nullptr;
    const cudaError_t error = cudaGraphInstantiate(&ready, graph, 0);
    CUDA_CHECK(cudaGraphDestroy(graph));
    if (error == cudaErrorMemoryAllocation) {
      (void)cudaGetLastError();
      return Error{Code::kResourceExhausted, "no device memory to record a step: " +
                                                 std::to_string(before) + " bytes were free"};
    }
    CUDA_CHECK(error);
    CUDA_CHECK(cudaGraphUpload(ready, context_.stream()));
    const int64_t taken = std::max<int64_t>(before - free_device_bytes(), 0);
    context_.count(Purpose::kGraphs, taken);
    counted_bytes_ += taken;
    found = graphs_.emplace(key, ready).first;
  }
  CUDA_CHECK(cudaGraphLaunch(found->second, context_.stream()));
  return {};
}

void Recordings::forget() {
  CHECK(!recording_);
  CUDA_CHECK(cudaStreamSynchronize(context_.stream()));
  for (const auto& [key, graph] : graphs_) CUDA_CHECK(cudaGraphExecDestroy(graph));
  graphs_.clear();
  context_.count(Purpose::kGraphs, -counted_bytes_);
  counted_bytes_ = 0;
}

}  // namespace mimo::kernels::cuda
