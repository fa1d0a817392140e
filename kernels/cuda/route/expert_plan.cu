#include "kernels/cuda/route/expert_plan.h"
