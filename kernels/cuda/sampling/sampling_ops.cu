#include "kernels/cuda/sampling/sampling_ops.h"
