#include "kernels/cuda/product/product_ops.h"
