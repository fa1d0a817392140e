#include "kernels/cuda/cuda_ops.h"
