#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/sampling/slot_table.h"
#include "kernels/sampling.h"

namespace mimo::kernels::cuda {

// Where the blocks of a row meet; all zeros between launches.
struct GreedyCells {
  unsigned long long* best = nullptr;  // [draws] the greatest so far, equal ones by the lower id
  uint32_t* arrived = nullptr;         // [draws] blocks that are done
};

// The greatest logit of each row, in one launch; nothing else of a slot's sampler is looked at.
void launch_greedy(const SampleParams& p, const SlotTable& table, const GreedyCells& cells,
                   int32_t num_sms, cudaStream_t stream);

}  // namespace mimo::kernels::cuda
