#include "kernels/cuda/attention/attention_launch.cuh"

namespace mimo::kernels::cuda {

AttentionKernel attention_kernel_256_256() { return AttentionLaunch<256, 256, 2>::kernel(); }

}  // namespace mimo::kernels::cuda
