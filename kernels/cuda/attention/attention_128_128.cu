#include "kernels/cuda/attention/attention_launch.cuh"

namespace mimo::kernels::cuda {

AttentionKernel attention_kernel_128_128() { return AttentionLaunch<128, 128, 4>::kernel(); }

}  // namespace mimo::kernels::cuda
