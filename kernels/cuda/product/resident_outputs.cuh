#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "kernels/cuda/product/cluster.cuh"
#include "kernels/cuda/product/resident_tile.cuh"
#include "kernels/cuda/product/stream_outputs.cuh"
#include "kernels/device/mma.cuh"

// From the sums of a cluster's blocks to the product.
namespace mimo::kernels::cuda::product {

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

// --- Sums ---------------------------------------------------------------------------------------

// The eights of tokens by sixteen rows that a block finishes of its cluster's unit, a warp each.
template <typename Tile>
struct Parts {
  __device__ Parts(const ResidentArgs& p, Share<Tile> share)
      : sixteens(Tile::kRows / kStreamRows / p.shape.k_split),
        first(share.slice * sixteens),
        of_unit(share.unit * (Tile::kRows / kStreamRows)) {}

  __device__ __forceinline__ int32_t count() const { return sixteens * Tile::kEights; }
  __device__ __forceinline__ int32_t sixteen(int32_t i) const { return first + i / Tile::kEights; }
  __device__ __forceinline__ int32_t eight(int32_t i) const { return i % Tile::kEights; }

  int32_t sixteens;
  int32_t first;
  int32_t of_unit;
};

// A lane's of all sums that a block adds up: [slice][half][sixteen][eight][lane][4].
template <typename Tile>
__device__ __forceinline__ int32_t sums_at(const Parts<Tile>& parts, int32_t slice, int32_t half,
                                           int32_t sixteen, int32_t eight) {
  const int32_t row = (slice * Tile::kHalves + half) * parts.sixteens + sixteen;
  return (row * Tile::kEights + eight) * 512 + static_cast<int32_t>(threadIdx.x % 32) * 16;
}

// To the block of the cluster that finishes these rows.
template <typename Tile>
__device__ __forceinline__ void send_sums(const ResidentArgs& p, Share<Tile> share,
                                          const float (&total)[Tile::kSums], uint8_t* shared,
                                          Barriers barriers) {
  const Parts<Tile> parts(p, share);
  const int32_t rank = share.sixteen() / parts.sixteens;
  const int32_t sixteen = share.sixteen() - rank * parts.sixteens;
  const uint32_t base = device::shared_address(shared) + p.shape.sums_at;
  const uint32_t to = address_in(base, static_cast<uint32_t>(rank));
  const uint32_t barrier = address_in(barriers.sums(), static_cast<uint32_t>(rank));
#pragma unroll
  for (int n = 0; n < Tile::kEights; ++n) {
    const int32_t at = sums_at(parts, share.slice, share.half(), sixteen, n);
    const float* const x = total + 4 * n;
    if (is_alone(p.shape)) {
      *shared_part<float4>(shared, p.shape.sums_at + at) = make_float4(x[0], x[1], x[2], x[3]);
    } else {
      send(to + at, x[0], x[1], x[2], x[3], barrier);
    }
  }
  if (is_alone(p.shape)) device::arrive(barriers.sums());
}

// Part i's, of all slices' halves in their order.
template <typename Tile>
__device__ __forceinline__ void add_sums(const ResidentArgs& p, const Parts<Tile>& parts, int32_t i,
                                         const uint8_t* shared, float (&sums)[4]) {
#pragma unroll
  for (int slice = 0; slice < 4; ++slice) {
    if (slice >= p.shape.k_split) continue;
#pragma unroll
    for (int half = 0; half < Tile::kHalves; ++half) {
      const int32_t at = sums_at(parts, slice, half, i / Tile::kEights, parts.eight(i));
      const float4 x = *reinterpret_cast<const float4*>(shared + p.shape.sums_at + at);
      sums[0] += x.x;
      sums[1] += x.y;
      sums[2] += x.z;
      sums[3] += x.w;
    }
  }
}

// Of two rows and one token, as bf16: where they go and by how much they are turned.
struct Spot {
  __nv_bfloat16* a = nullptr;
  __nv_bfloat16* b = nullptr;
  bool turns = false;
  float sine = 0.0f;
  float cosine = 1.0f;
  float factor_a = 1.0f;
  float factor_b = 1.0f;

  __device__ __forceinline__ void put(float x, float y) const {
    const float turned = x * cosine - y * sine;
    if (turns) y = y * cosine + x * sine;
    if (a != nullptr) *a = __float2bfloat16((turns ? turned : x) * factor_a);
    if (b != nullptr) *b = __float2bfloat16(y * factor_b);
  }
};

// A thread's, of two tokens.
struct Spots {
  Spot of[2];
};
__device__ __forceinline__ bool has_spots(const StreamArgs& p) {
  return p.out_kind == StreamOut::kQkv || p.out_kind == StreamOut::kBf16;
}

__device__ __forceinline__ Spot spot_of(const QkvTarget& target, const RowPair& rows, Place place,
                                        int32_t token) {
  Spot out;
  out.turns = rows.frequency >= 0;
  if (out.turns) {
    sincosf(static_cast<float>(place.position) * target.frequencies[rows.frequency], &out.sine,
            &out.cosine);
  }
  const auto find = [&](int32_t row, float& factor) -> __nv_bfloat16* {
    const int32_t q_cols = target.num_q_heads * target.k_dim;
    if (row < 0) return nullptr;
    if (row < q_cols) {
      return static_cast<__nv_bfloat16*>(target.q) + int64_t{token} * q_cols + row;
    }
    if (place.cache_row < 0) return nullptr;
    const int32_t k_cols = target.kv_heads * target.k_dim;
    const bool is_k = row - q_cols < k_cols;
    const int32_t col = is_k ? row - q_cols : row - q_cols - k_cols;
    const int32_t dim = is_k ? target.k_dim : target.v_dim;
    if (!is_k) factor = target.value_scale;
    return static_cast<__nv_bfloat16*>(is_k ? target.k : target.v) +
           (place.cache_row + int64_t{col / dim} * target.page_tokens) * dim + col % dim;
  };
  out.a = find(rows.a, out.factor_a);
  out.b = find(rows.b, out.factor_b);
  return out;
}

__device__ __forceinline__ Spot spot_of(const StreamArgs& p, const RowPair& rows, int32_t token) {
  auto* const out = static_cast<__nv_bfloat16*>(p.out) + int64_t{token} * p.out_cols;
  Spot spot;
  if (rows.a >= 0) spot.a = out + rows.a;
  if (rows.b >= 0) spot.b = out + rows.b;
  return spot;
}

// Where part i's results go: of lane / 4's rows and two tokens.
template <typename Tile>
__device__ __forceinline__ Spots find_spots(const ResidentArgs& p, const Parts<Tile>& parts,
                                            int32_t i, const uint8_t* shared) {
  const auto lane = static_cast<int32_t>(threadIdx.x % 32);
  const auto* const places = reinterpret_cast<const Place*>(shared + p.shape.places_at);
  const RowPair rows = swap_rows(p.stream, parts.of_unit + parts.sixteen(i), lane / 4);
  Spots out;
#pragma unroll
  for (int t = 0; t < 2; ++t) {
    const int32_t token = parts.eight(i) * 8 + lane % 4 * 2 + t;
    if (token >= p.stream.num_tokens) continue;
    out.of[t] = p.stream.out_kind == StreamOut::kQkv
                    ? spot_of(p.stream.target, rows, places[token], token)
                    : spot_of(p.stream, rows, token);
  }
  return out;
}

template <typename Tile>
__device__ __forceinline__ void store_part(const ResidentArgs& p, const Parts<Tile>& parts,
                                           int32_t i, const float (&sums)[4], const Spots& spots) {
  if (has_spots(p.stream)) {
    spots.of[0].put(sums[0], sums[2]);
    spots.of[1].put(sums[1], sums[3]);
    return;
  }
  const auto lane = static_cast<int32_t>(threadIdx.x % 32);
  const RowPair rows = swap_rows(p.stream, parts.of_unit + parts.sixteen(i), lane / 4);
#pragma unroll
  for (int t = 0; t < 2; ++t) {
    const int32_t token = parts.eight(i) * 8 + lane % 4 * 2 + t;
    if (token < p.stream.num_tokens) put(p.stream, rows, token, sums[t], sums[2 + t]);
  }
}

template <typename Tile>
__device__ __forceinline__ bool has_part(const ResidentArgs& p, const Parts<Tile>& parts,
                                         int32_t i) {
  return i < parts.count() && parts.eight(i) * 8 < p.stream.num_tokens;
}

// A warp's first part. Those that do not multiply come first: they have time to start_finish().
__device__ __forceinline__ int32_t first_part() {
  constexpr int32_t kIdle = kWarps - kMathWarps;
  return (static_cast<int32_t>(threadIdx.x / 32) + kIdle) % kWarps;
}

// Before the cluster's sums are there: what needs none of them.
template <typename Tile>
__device__ __forceinline__ Spots start_finish(const ResidentArgs& p, Share<Tile> share,
                                              const uint8_t* shared, Barriers barriers) {
  const Parts<Tile> parts(p, share);
  if (!has_spots(p.stream)) return {};
  // Also for the parts that come after a first one of no tokens.
  if (p.stream.out_kind == StreamOut::kQkv) device::wait_parity(barriers.places(), 0);
  if (!has_part(p, parts, first_part())) return {};
  return find_spots<Tile>(p, parts, first_part(), shared);
}

// This block's part of the rows. spots: start_finish()'s.
template <typename Tile>
__device__ __forceinline__ void finish(const ResidentArgs& p, Share<Tile> share,
                                       const uint8_t* shared, Barriers barriers, Spots spots) {
  const bool finds = has_spots(p.stream);
  const Parts<Tile> parts(p, share);
  wait_parity_cluster(barriers.sums(), 0);
  for (int32_t i = first_part(); i < parts.count(); i += kWarps) {
    if (!has_part(p, parts, i)) continue;
    if (finds && i >= kWarps) spots = find_spots<Tile>(p, parts, i, shared);
    float sums[4] = {};
    add_sums(p, parts, i, shared, sums);
    store_part<Tile>(p, parts, i, sums, spots);
  }
}

#endif

}  // namespace mimo::kernels::cuda::product
