#pragma once

// Programmatic dependent launch: see kernels/cuda/launch.h.
namespace mimo::kernels::device {

// Returns when every kernel queued before this one has ended and its writes are seen.
__device__ __forceinline__ void wait_for_inputs() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// The next kernel may be put on the device beside this one, up to its wait_for_inputs().
__device__ __forceinline__ void let_next_start() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

}  // namespace mimo::kernels::device
