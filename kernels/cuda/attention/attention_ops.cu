#include "kernels/cuda/attention/attention_ops.h"
