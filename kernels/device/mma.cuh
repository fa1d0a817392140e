#pragma once

#include <cstdint>

// Tensor core words of every part from SM80 on, one instruction each.
//
// Fragments, by lane (group = lane / 4, pair = lane % 4), two 16-bit values a register, lower
// column first:
//   a [16 x 16]: a[0] row group,     columns 2 pair, 2 pair + 1    a[2] columns + 8
//                a[1] row group + 8, the same columns              a[3] columns + 8
//   b [16 x 8]:  b[0] column group, rows 2 pair, 2 pair + 1        b[1] rows + 8
//   c [16 x 8]:  c[0], c[1] row group, columns 2 pair, 2 pair + 1; c[2], c[3] row group + 8
namespace mimo::kernels::device {

// c += a b, bf16 in, f32 sums.
__device__ __forceinline__ void mma_bf16(float (&c)[4], const uint32_t (&a)[4],
                                         const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// c += a b, f16 in, f32 sums.
__device__ __forceinline__ void mma_f16(float (&c)[4], const uint32_t (&a)[4],
                                        const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// An address for the words below; `pointer` points into shared memory.
__device__ __forceinline__ uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// Four 8 x 8 matrices of 16-bit values. Lanes 8 i .. 8 i + 7 give the 16-byte rows of matrix i;
// out[i] holds row lane / 4, columns 2 (lane % 4) and the next, of it.
__device__ __forceinline__ void load_matrix_x4(uint32_t (&out)[4], uint32_t row_address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(row_address)
               : "memory");
}

// The same with each matrix transposed: out[i] holds column lane / 4, rows 2 (lane % 4) and the
// next, of it.
__device__ __forceinline__ void load_matrix_x4_transposed(uint32_t (&out)[4],
                                                          uint32_t row_address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(row_address)
               : "memory");
}

// Two matrices; lanes 0 .. 15 give the rows.
__device__ __forceinline__ void load_matrix_x2(uint32_t (&out)[2], uint32_t row_address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
               : "=r"(out[0]), "=r"(out[1])
               : "r"(row_address)
               : "memory");
}

// Two e4m3 values (the lower byte first) as two f16 values: exact. From SM89 on.
__device__ __forceinline__ uint32_t e4m3x2_to_f16x2(uint16_t values) {
  uint32_t out;
  asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(out) : "h"(values));
  return out;
}

// Two floats as bf16, to nearest even; `low` in the lower half.
__device__ __forceinline__ uint32_t pack_bf16(float low, float high) {
  uint32_t out;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(out) : "f"(high), "f"(low));
  return out;
}

}  // namespace mimo::kernels::device
