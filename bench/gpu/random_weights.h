#pragma once

#include "base/result.h"
#include "checkpoint/model_config.h"
#include "kernels/cuda/cuda_ops.h"
#include "node/model/weights.h"
#include "parallel/shard.h"

namespace mimo::bench {

// One rank's weights with the released model's shapes and dtypes and random values, made on the
// device: minutes of loading become seconds. Products keep about unit variance, and the router
// spreads tokens evenly over the experts.
Result<node::ModelWeights> random_weights(const checkpoint::ModelConfig& config,
                                          const parallel::RankShard& shard,
                                          kernels::cuda::CudaOps& ops);

}  // namespace mimo::bench
