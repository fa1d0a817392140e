#include "kernels/cuda/attention/attention_launch.cuh"

namespace mimo::kernels::cuda {

AttentionKernel attention_kernel_64_64() { return AttentionLaunch<64, 64, 4>::kernel(); }

}  // namespace mimo::kernels::cuda
