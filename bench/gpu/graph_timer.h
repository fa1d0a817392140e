#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <vector>

#include "kernels/cuda/cuda_check.h"

namespace mimo::bench {

// Read-only stream and GEMM ceilings measured on an H200; the denominators of every share.
constexpr double kRoofBytesPerSecond = 4.55e12;
constexpr double kRoofFp8Flops = 1.453e15;
constexpr double kRoofBf16Flops = 7.76e14;

struct Timing {
  double us = 0;  // median of the replays, of one launch
  double p10 = 0;
  double p90 = 0;
};

// Times body(0) .. body(count - 1), captured in one graph: each should use other weights, together
// more than the L2 holds, so that they are cold as in a step.
inline Timing time_in_graph(cudaStream_t stream, int32_t count,
                            const std::function<void(int32_t)>& body, int32_t replays = 9) {
  body(0);  // modules load, plans are made
  CUDA_CHECK(cudaStreamSynchronize(stream));
  cudaGraph_t graph = nullptr;
  CUDA_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  for (int32_t i = 0; i < count; ++i) body(i);
  CUDA_CHECK(cudaStreamEndCapture(stream, &graph));
  cudaGraphExec_t exec = nullptr;
  CUDA_CHECK(cudaGraphInstantiate(&exec, graph, 0));
  CUDA_CHECK(cudaGraphUpload(exec, stream));
  cudaEvent_t begin = nullptr;
  cudaEvent_t end = nullptr;
  CUDA_CHECK(cudaEventCreate(&begin));
  CUDA_CHECK(cudaEventCreate(&end));
  std::vector<double> us;
  for (int32_t i = 0; i < replays + 2; ++i) {
    CUDA_CHECK(cudaEventRecord(begin, stream));
    CUDA_CHECK(cudaGraphLaunch(exec, stream));
    CUDA_CHECK(cudaEventRecord(end, stream));
    CUDA_CHECK(cudaEventSynchronize(end));
    float ms = 0;
    CUDA_CHECK(cudaEventElapsedTime(&ms, begin, end));
    if (i >= 2) us.push_back(ms * 1e3 / count);
  }
  CUDA_CHECK(cudaEventDestroy(begin));
  CUDA_CHECK(cudaEventDestroy(end));
  CUDA_CHECK(cudaGraphExecDestroy(exec));
  CUDA_CHECK(cudaGraphDestroy(graph));
  std::sort(us.begin(), us.end());
  return {us[us.size() / 2], us[us.size() / 10], us[us.size() * 9 / 10]};
}

}  // namespace mimo::bench
