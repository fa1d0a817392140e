#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace mimo::bench {

// What a product before attention looks like to it: `num_sms` blocks with a multiprocessor's whole
// shared memory each read `bytes` of weights, and let the next kernel start once they have waited.
// `out` is one word.
void read_weights(const void* weights, int64_t bytes, uint32_t* out, int32_t num_sms,
                  cudaStream_t stream);

}  // namespace mimo::bench
