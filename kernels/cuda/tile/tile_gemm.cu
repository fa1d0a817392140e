#include "kernels/cuda/tile/tile_gemm.h"
