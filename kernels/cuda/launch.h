#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <utility>

#include "kernels/cuda/cuda_check.h"

namespace mimo::kernels::cuda {

struct LaunchShape {
  dim3 grid;
  dim3 block;
  int64_t shared_bytes = 0;  // dynamic
  int32_t cluster = 1;       // blocks along x
};

// Queues `kernel` as a programmatic dependent of the kernel before it: it may start while that one
// still runs, and must call device::wait_for_inputs() (kernels/device/pdl.cuh) in every thread
// before it reads what earlier kernels wrote or writes anything at all. No launch for an empty
// grid. More than 48 KB of shared memory must have been allowed by allow_shared().
template <typename... Params, typename... Arguments>
void launch(void (*kernel)(Params...), const LaunchShape& shape, cudaStream_t stream,
            Arguments&&... arguments) {
  if (shape.grid.x == 0 || shape.grid.y == 0 || shape.grid.z == 0) return;
  cudaLaunchAttribute attributes[2] = {};
  attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[0].val.programmaticStreamSerializationAllowed = 1;
  attributes[1].id = cudaLaunchAttributeClusterDimension;
  attributes[1].val.clusterDim = {static_cast<unsigned>(shape.cluster), 1, 1};
  cudaLaunchConfig_t config = {};
  config.gridDim = shape.grid;
  config.blockDim = shape.block;
  config.dynamicSmemBytes = static_cast<size_t>(shape.shared_bytes);
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = shape.cluster > 1 ? 2 : 1;
  CUDA_CHECK(cudaLaunchKernelEx(&config, kernel, Params(std::forward<Arguments>(arguments))...));
}

// Once for each kernel that asks for more than 48 KB, before its first launch (in prepare()).
template <typename... Params>
void allow_shared(void (*kernel)(Params...), int64_t bytes) {
  CUDA_CHECK(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                  cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  static_cast<int>(bytes)));
}

}  // namespace mimo::kernels::cuda
