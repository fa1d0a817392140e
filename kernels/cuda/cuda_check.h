#pragma once

#include <cuda_runtime.h>

#include "base/check.h"

// A CUDA error after start-up: the context is lost, so the process ends and its group forms anew.
#define CUDA_CHECK(call)                                                                \
  do {                                                                                  \
    const cudaError_t cuda_check_ = (call);                                             \
    if (cuda_check_ != cudaSuccess)                                                     \
      ::mimo::check_failed(__FILE__, __LINE__, #call, cudaGetErrorString(cuda_check_)); \
  } while (false)
