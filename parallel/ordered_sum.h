#pragma once

#include <cstdint>
#include <span>

#include "base/dtype.h"

namespace mimo::parallel {

// out[i] = ((in[0][i] + in[1][i]) + in[2][i]) + ... in fp32; bf16 rounded once, at the end. The one
// definition of a sum over ranks: every group on the CPU calls it.
//   in[k], out [count] of dtype, kF32 or kBf16; any alignment; out may be one of in
void ordered_sum(DType dtype, std::span<const void* const> in, void* out, int64_t count);

// Rank r's share of `count` elements cut in `size` nearly equal parts: [begin, end).
struct Slice {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t count() const { return end - begin; }
};
inline Slice rank_slice(int64_t count, int32_t size, int32_t rank) {
  const int64_t each = count / size, rest = count % size;
  const int64_t begin = rank * each + (rank < rest ? rank : rest);
  return {begin, begin + each + (rank < rest ? 1 : 0)};
}

}  // namespace mimo::parallel
