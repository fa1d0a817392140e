#include "kernels/cuda/route/route_ops.h"
