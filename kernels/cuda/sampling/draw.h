#pragma once

#include <cuda_runtime.h>

#include "base/result.h"
#include "kernels/cuda/sampling/slot_table.h"
#include "kernels/sampling.h"

namespace mimo::kernels::cuda {

// The kernels that read a row more than once hold it in a cluster's shared memory. Once, before the
// first launch; kInvalidArgument where `vocab` tokens do not fit.
Result<void> prepare_draws(int32_t vocab, int32_t shared_bytes_max);

// Every draw, whatever its slot asks for.
void launch_draws(const SampleParams& p, const SlotTable& table, cudaStream_t stream);
void launch_scores(const ScoreParams& p, cudaStream_t stream);

}  // namespace mimo::kernels::cuda
