#include "kernels/cuda/rows/folded_norm.h"

#include "base/check.h"

namespace mimo::kernels::cuda {
namespace {

bool aligned(const void* at, uintptr_t bytes) {
  return reinterpret_cast<uintptr_t>(at) % bytes == 0;
}

}  // namespace

void check_norm(const AddNormParams& p) {
  CHECK(p.out.cols > 0 && p.out.cols % 8 == 0);
  CHECK_EQ(p.out.q == nullptr, p.out.q_scales == nullptr);
  CHECK(aligned(p.residual, 16) && aligned(p.delta, 16) && aligned(p.weight, 16));
  CHECK(aligned(p.residual_out, 16));
  CHECK(aligned(p.out.values, 16) && aligned(p.out.q, 8));
  CHECK_GE(p.num_tokens, 0);
  CHECK(p.num_tokens == 0 || (p.residual != nullptr && p.out.values != nullptr));
}

bool can_fold(const AddNormParams& p) {
  return p.delta != nullptr && p.residual_out != nullptr && p.residual_out != p.residual &&
         p.num_tokens >= 1 && p.num_tokens <= kFoldTokensMax && p.out.cols <= kFoldHiddenMax;
}

bool reads_all(const AddNormParams& norm, const RouteParams& p) {
  return p.x == norm.out.values && p.hidden == norm.out.cols && p.num_tokens == norm.num_tokens;
}

bool reads_all(const AddNormParams& norm, const QkvParams& p) {
  return p.x.values == norm.out.values && p.x.q == norm.out.q &&
         p.x.q_scales == norm.out.q_scales && p.x.cols == norm.out.cols &&
         p.runs.num_tokens == norm.num_tokens;
}

}  // namespace mimo::kernels::cuda
