#include "kernels/cuda/product/stream_plan.h"

#include <algorithm>

namespace mimo::kernels::cuda::product {
namespace {

// A block of the device's own that shares an SM with others.
constexpr int32_t kReservedBytes = 1024;

int64_t row_bytes(DType dtype, int32_t cols) { return (cols * dtype_bytes(dtype) + 15) / 16 * 16; }

// The tiled kernels read 16 bytes of an activation row at a time.
bool whole_vectors(DType dtype, int32_t cols) { return cols * dtype_bytes(dtype) % 16 == 0; }

int32_t token_rows_for(int64_t num_tokens) {
  return num_tokens <= 8 ? 8 : num_tokens <= 16 ? 16 : 32;
}

}  // namespace

std::optional<StreamShape> stream_shape(DType dtype, int32_t cols, int32_t token_rows,
                                        int32_t shared_bytes_max) {
  const bool scaled = dtype == DType::kF8E4m3;
  StreamShape out;
  out.k_blocks =
      static_cast<int32_t>((row_bytes(dtype, cols) + kColumnBlockBytes - 1) / kColumnBlockBytes);
  out.token_pitch = out.k_blocks * kColumnBlockBytes + 64;
  out.k_warps = 1;
  while (out.k_warps < kStreamWarps && out.k_warps * 8 <= out.k_blocks) out.k_warps *= 2;
  for (out.token_rows = token_rows; out.token_rows >= 8; out.token_rows /= 2) {
    const int32_t steps = kStreamWarps * stream_stages(dtype, out.token_rows);
    out.ring_scales_at = steps * kStreamRows * kColumnBlockBytes;
    int64_t at = out.ring_scales_at + (scaled ? steps * kStreamRows * 4 : 0);
    out.tokens_at = static_cast<int32_t>(at);
    at += int64_t{out.token_rows} * out.token_pitch;
    if (at > shared_bytes_max) continue;
    out.token_scales_at = static_cast<int32_t>(at);
    at += scaled ? out.token_rows * 4 * out.k_blocks : 0;
    out.sums_at = static_cast<int32_t>(at);
    at += out.k_warps > 1 ? 2 * kStreamWarps * kStreamRows * 4 * out.token_rows : 0;
    out.places_at = static_cast<int32_t>(at);
    at += 16 * out.token_rows;
    if (at > shared_bytes_max) continue;
    out.shared_bytes = static_cast<int32_t>(at);
    out.blocks_per_sm =
        std::min(2, (shared_bytes_max + kReservedBytes) / (out.shared_bytes + kReservedBytes));
    return out;
  }
  return std::nullopt;
}

std::optional<StreamShape> choose_dense(DType dtype, int32_t cols, int32_t num_tokens,
                                        int32_t shared_bytes_max) {
  const auto shape = stream_shape(dtype, cols, token_rows_for(num_tokens), shared_bytes_max);
  if (!shape.has_value() || !whole_vectors(dtype, cols)) return shape;
  // cuBLASLt's. H200, 4096 x 2048 by 64 rows: 12.5 us, here 16.1.
  if (dtype == DType::kBf16 && num_tokens > kStreamTokensMax) return std::nullopt;
  // Each further tile of tokens reads the weights again, from the L2.
  if (num_tokens > 2 * shape->token_rows) return std::nullopt;
  return shape;
}

int32_t choose_expert_rows(const ExpertsShape& shape, int32_t shared_bytes_max) {
  // Twice the mean leaves few experts with a second tile, which reads the weights again.
  const int64_t mean = shape.num_pairs / std::max(1, shape.num_experts);
  const auto gate_up =
      stream_shape(shape.gate_up_dtype, shape.hidden, token_rows_for(2 * mean), shared_bytes_max);
  const auto down =
      stream_shape(shape.down_dtype, shape.columns, token_rows_for(2 * mean), shared_bytes_max);
  const bool tiled = whole_vectors(shape.gate_up_dtype, shape.hidden) &&
                     whole_vectors(shape.down_dtype, shape.columns);
  if (!gate_up.has_value() || !down.has_value()) return 0;
  const int32_t rows = std::min(gate_up->token_rows, down->token_rows);
  if (shape.batch_invariant) return tiled && !shape.decode ? 0 : rows;
  return tiled && mean > rows ? 0 : rows;
}

}  // namespace mimo::kernels::cuda::product
