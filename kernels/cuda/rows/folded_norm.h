#pragma once

#include <cstdint>

#include "kernels/ops.h"

// Which add_norm() the operation that reads its `out` may do on its way: every block of that kernel
// norms the rows anew, and one of them leaves what add_norm() leaves. Pure
// functions.
namespace mimo::kernels::cuda {

constexpr int32_t kFoldTokensMax = 1;
constexpr int32_t kFoldHiddenMax = 4096;
constexpr int32_t kFoldWarps = kFoldHiddenMax / 8 / 32;  // whose sums of squares are added up

// CHECKs what every kernel that norms rows counts on.
void check_norm(const AddNormParams& p);

// Other blocks may still read `residual` when the first is done: the sum has to go elsewhere.
bool can_fold(const AddNormParams& p);

// Whether the operation reads nothing but what `norm` leaves as rows.
bool reads_all(const AddNormParams& norm, const RouteParams& p);
bool reads_all(const AddNormParams& norm, const QkvParams& p);

}  // namespace mimo::kernels::cuda
