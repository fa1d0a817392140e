#pragma once

#include <cstdint>
#include <vector>

#include "kernels/cpu/packed_linear.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/ops.h"

namespace mimo::kernels {

// Memory of one step, kept for the next. prepare() makes it large enough; a larger step than it
// was told of makes it grow.
struct Workspace {
  std::vector<float> quantised;    // [T, cols] e4m3 values of a product's input
  std::vector<float> scales;       // [T, groups] theirs
  std::vector<float> quantised_2;  // the same for a second product's input
  std::vector<float> scales_2;
  std::vector<float> wide;      // [T, outputs] of a product whose result goes on
  std::vector<float> middle;    // [T, columns] between gate_up and down
  std::vector<float> gathered;  // [T, H] one expert's input rows
  std::vector<float> gathered_scales;
  std::vector<float> result;            // [T, H] one expert's output rows
  std::vector<int32_t> assignments;     // rows of one expert after another
  std::vector<float> assigned_weights;  // theirs
  std::vector<int32_t> expert_begin;    // [experts + 1] into assignments
};

// What the CPU's operations share.
struct CpuContext {
  CpuContext(CpuMode m, int32_t num_threads) : mode(m), pool(num_threads) {}

  // x as the backend stores an activation.
  float stored(float x) const;

  CpuMode mode;
  ThreadPool pool;
  std::vector<PackedLinear> linears;
  std::vector<PackedStack> stacks;
  Workspace workspace;
};

template <typename T>
T* grown(std::vector<T>& buffer, int64_t size) {
  if (static_cast<int64_t>(buffer.size()) < size) buffer.resize(static_cast<size_t>(size));
  return buffer.data();
}

// The rows that a product reads: values and, for scaled weights, their group scales.
struct ProductInput {
  const float* values = nullptr;  // [T, cols]
  const float* scales = nullptr;  // [T, groups] or null
};

// x ready for `w`: as it is, or quantised into the two buffers.
ProductInput product_input(CpuContext& context, const PackedLinear& w, const float* x,
                           int32_t num_rows, std::vector<float>& values,
                           std::vector<float>& scales);

// out [num_rows, w.rows] = x w^T in float.
void product(CpuContext& context, const PackedLinear& w, const ProductInput& x, int32_t num_rows,
             float* out);

// silu(gate) * up of [num_rows, 2 * columns], gate first, as stored; to [num_rows, columns].
void silu_mul(CpuContext& context, const float* gate_up, int32_t num_rows, int32_t columns,
              float* out);

// The run's row of the page tables.
int32_t table_row(const Runs& runs, int32_t run);
// Where table row `row` keeps key `position`: its index in pool pages of [kv_heads][page_tokens].
int64_t cache_row(const PagedKv& kv, int32_t row, int32_t head, int32_t position);

// The operations of ops.h, one a file.
void embed(CpuContext& context, const EmbedParams& p);
void gather_rows(CpuContext& context, const GatherRowsParams& p);
void scatter(const ScatterParams& p);
void add_norm(CpuContext& context, const AddNormParams& p);
void qkv(CpuContext& context, const QkvParams& p);
void attention(CpuContext& context, const AttentionParams& p);
void linear(CpuContext& context, const LinearParams& p);
void dense_ffn(CpuContext& context, const DenseFfnParams& p);
void route(CpuContext& context, const RouteParams& p);
void experts(CpuContext& context, const ExpertsParams& p);

}  // namespace mimo::kernels
