#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/route/weight_parts.h"
#include "kernels/device/cp_async.cuh"
#include "kernels/device/mma.cuh"
#include "kernels/device/wgmma.cuh"

// 64 experts x 16 columns, in three bf16 parts, times tokens: a warpgroup's products. Where there
// is no wgmma, each warp's own.
//
// A warp has 16 of the experts: parts are mma.cuh's a, sums its c, four a tile of eight tokens.
namespace mimo::kernels::cuda::router {

// The slice's copies have come; those of later ones may be under way.
template <int kSlices>
__device__ __forceinline__ void wait_for_copies(int32_t slice) {
  static_assert(kSlices <= 4);
  if (kSlices - 1 - slice >= 3) return device::copy_async_wait<3>();
  if (kSlices - 1 - slice == 2) return device::copy_async_wait<2>();
  if (kSlices - 1 - slice == 1) return device::copy_async_wait<1>();
  device::copy_async_wait<0>();
}

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

// d += a b, or d = a b: a 64 experts x 16 columns, b 16 columns of 4 (8) tiles of tokens.
__device__ __forceinline__ void wgmma_part(float (&d)[16], const uint32_t (&a)[4], uint64_t b,
                                           bool add) {
  asm volatile(
      "{\n"
      ".reg .pred add;\n"
      "setp.ne.b32 add, %21, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15}, "
      "{%16, %17, %18, %19}, %20, add, 1, 1, 0;\n"
      "}\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]),
        "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]),
        "+f"(d[14]), "+f"(d[15])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int32_t>(add)));
}
__device__ __forceinline__ void wgmma_part(float (&d)[32], const uint32_t (&a)[4], uint64_t b,
                                           bool add) {
  asm volatile(
      "{\n"
      ".reg .pred add;\n"
      "setp.ne.b32 add, %37, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
      "{%32, %33, %34, %35}, %36, add, 1, 1, 0;\n"
      "}\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]),
        "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]),
        "+f"(d[14]), "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]),
        "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]),
        "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int32_t>(add)));
}

#endif

// sums += parts times the slice's columns of one step; = where not `add`. operand: operand_128b()
// of the slice, where there is wgmma; slice: its address, elsewhere. Runs on until wait_for_sums().
template <int kSums>
__device__ __forceinline__ void multiply_parts(float (&sums)[kSums],
                                               const uint32_t (&parts)[kWeightParts][4],
                                               [[maybe_unused]] uint64_t operand,
                                               [[maybe_unused]] uint32_t slice, int32_t step,
                                               bool add) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  const uint64_t b = operand + static_cast<uint64_t>(step * 2);
  device::wgmma_begin();
#pragma unroll
  for (int part = kWeightParts - 1; part >= 0; --part) {
    wgmma_part(sums, parts[part], b, add || part < kWeightParts - 1);
  }
  device::wgmma_commit();
#else
  const auto lane = static_cast<int32_t>(threadIdx.x % 32);
  const int32_t row = lane % 8;
  const uint32_t at = slice + row * 128 + ((step * 2 + lane / 8 % 2) ^ row) * 16;
#pragma unroll
  for (int t = 0; t < kSums / 4; ++t) {
    uint32_t b[2];
    device::load_matrix_x2(b, at + t * 1024);
    float c[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) c[i] = add ? sums[t * 4 + i] : 0.0f;
#pragma unroll
    for (int part = kWeightParts - 1; part >= 0; --part) device::mma_bf16(c, parts[part], b);
#pragma unroll
    for (int i = 0; i < 4; ++i) sums[t * 4 + i] = c[i];
  }
#endif
}

// But for the newest kNewest steps all have ended: these parts, of one of them, may be written
// again.
template <int kNewest>
__device__ __forceinline__ void wait_but_newest(uint32_t (&parts)[kWeightParts][4]) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  device::wgmma_wait<kNewest>();
#pragma unroll
  for (int part = 0; part < kWeightParts; ++part) device::hold(parts[part]);
#endif
}

template <int kSums>
__device__ __forceinline__ void wait_for_sums(float (&sums)[kSums]) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  device::wgmma_wait<0>();
  device::hold(sums);
#endif
}

}  // namespace mimo::kernels::cuda::router
