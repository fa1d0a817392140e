#include "kernels/cuda/sampling/draw.h"

#include <string>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/sampling/row_cluster.cuh"
#include "kernels/cuda/sampling/row_describe.cuh"
#include "kernels/device/pdl.cuh"
#include "kernels/philox.h"

namespace mimo::kernels::cuda {
namespace {

using row::Row;

// --- Steps -------------------------------------------------------------------------------------
template <typename Params>
__device__ row::Source source_of(const Params& p, int32_t logits_row) {
  const bool aligned =
      p.shard_cols % 4 == 0 && reinterpret_cast<uint64_t>(p.logits) % sizeof(float4) == 0;
  return {p.logits, p.shard_cols, p.num_rows, logits_row, aligned};
}

struct SlotView {
  const SlotSampler& sampler;
  int32_t num_outputs;
  const int32_t* stop_ids;
  const BiasedId* biased;
  const uint32_t* counts;  // [vocab]
  const uint32_t* mask;    // [ceil(vocab_limit / 32)] or null
};

// Repetition for what was seen at all; frequency and presence for outputs. Rounds after each
// operation.
__device__ __forceinline__ float penalized(float x, uint32_t count, const SlotSampler& sampler) {
  if (count == 0) return x;
  x = x > 0 ? __fdiv_rn(x, sampler.repetition_penalty) : __fmul_rn(x, sampler.repetition_penalty);
  const uint32_t outputs = count & ~kInPrompt;
  if (outputs == 0) return x;
  x = __fsub_rn(x, __fmul_rn(sampler.frequency_penalty, static_cast<float>(outputs)));
  return __fsub_rn(x, sampler.presence_penalty);
}

// Minimum length, bias, penalties, then the mask.
__device__ void adjust(Row& row, const SlotView& slot) {
  const auto tid = static_cast<int32_t>(threadIdx.x);
  if (slot.num_outputs < slot.sampler.min_tokens) {
    for (int32_t i = tid; i < slot.sampler.num_stop_ids; i += row::kThreads) {
      const int32_t at = slot.stop_ids[i] - row.begin;
      if (at >= 0 && at < row.size) row.x[at] = row::never();
    }
    __syncthreads();
  }
  if (slot.sampler.num_biased > 0) {
    for (int32_t i = tid; i < slot.sampler.num_biased; i += row::kThreads) {
      const int32_t at = slot.biased[i].id - row.begin;
      if (at >= 0 && at < row.size) row.x[at] += slot.biased[i].bias;
    }
    __syncthreads();
  }
  if (slot.sampler.penalizes != 0) {
    for (int32_t i = tid; i < row.size; i += row::kThreads) {
      row.x[i] = penalized(row.x[i], slot.counts[row.begin + i], slot.sampler);
    }
    __syncthreads();
  }
  if (slot.mask != nullptr) {
    for (int32_t i = tid; i < row.size; i += row::kThreads) {
      const int32_t id = row.begin + i;
      if ((slot.mask[id / 32] >> (id % 32) & 1u) == 0) row.x[i] = row::never();
    }
    __syncthreads();
  }
}

__device__ __forceinline__ const uint32_t* mask_of(const SampleParams& p, int32_t n) {
  const int32_t row = p.mask_rows == nullptr ? -1 : p.mask_rows[n];
  return row < 0 ? nullptr : p.masks + int64_t{row} * ((p.vocab_limit + 31) / 32);
}

// The id in which the mass, in the order of the ids, passes uniform * total.
__device__ int32_t draw_by_mass(Row& row, const row::Weight& mass, double uniform) {
  uint64_t own = 0;
  for (int32_t i = row.own_begin; i < row.own_end; ++i) own += mass(row.x[i]);
  const row::Scan place = row::scan(row, own);
  // The product may round up to the total.
  const uint64_t target =
      min(static_cast<uint64_t>(uniform * static_cast<double>(place.total)), place.total - 1);
  uint64_t found = 0;
  if (place.before <= target && target < place.before + own) {
    uint64_t passed = place.before;
    for (int32_t i = row.own_begin; i < row.own_end && found == 0; ++i) {
      passed += mass(row.x[i]);
      if (passed > target) found = static_cast<uint64_t>(row.begin + i) + 1;
    }
  }
  return static_cast<int32_t>(row::greatest(row, found)) - 1;
}

// top_k, min_p, top_p, then a draw. `max` is the row's greatest.
__device__ int32_t draw(Row& row, const SlotSampler& sampler, float max, int32_t position) {
  if (sampler.top_k > 0 && sampler.top_k < row.vocab) {
    row::apply(row, row::find_cut(row, row::OneEach{}, static_cast<uint64_t>(sampler.top_k)));
  }
  const row::Weight mass{max, 1.0f / sampler.temperature};
  if (sampler.min_p > 0) {
    for (auto i = static_cast<int32_t>(threadIdx.x); i < row.size; i += row::kThreads) {
      if (mass.weight(row.x[i]) < sampler.min_p) row.x[i] = row::never();
    }
    __syncthreads();
  }
  if (sampler.top_p < 1.0f) {
    const uint64_t total = row::total_mass(row, mass);
    const double bound = ceil(double{sampler.top_p} * static_cast<double>(total));
    const uint64_t inside = ::min(::max(static_cast<uint64_t>(bound), uint64_t{1}), total);
    row::apply(row, row::find_cut(row, mass, inside));
  }
  return draw_by_mass(row, mass, philox_uniform(sampler.seed, static_cast<uint64_t>(position)));
}

// The drawn token and what was asked of it, in every thread of the cluster.
__device__ DrawResult choose(Row& row, const row::Source& source, const SlotView& slot,
                             int32_t position, row::Question& ask) {
  const SlotSampler& sampler = slot.sampler;
  DrawResult out{-1, 0, 0, 0};
  row::load(row, source);
  const uint64_t model_best = row::greatest_logit(row, true);
  if (sampler.is_set == 0 || !row::is_finite(row::packed_value(model_best))) return out;
  adjust(row, slot);
  const uint64_t best = row::greatest_logit(row, false);
  const float max = row::packed_value(best);
  // Bias and masks may leave nothing that can be drawn.
  if (!row::is_finite(max)) return out;
  const bool greedy = sampler.temperature < kGreedyTemperature;
  out.id = greedy ? row::packed_id(best) : draw(row, sampler, max, position);
  out.finite = 1;
  if (sampler.num_logprobs == -1) return out;
  row::load(row, source);
  ask.id = out.id;
  const row::Answer answer = row::describe(row, source, row::packed_value(model_best), ask);
  out.logprob = answer.logprob;
  out.rank = answer.rank;
  return out;
}

// --- Kernels: grid [kBlocks * N], a cluster a draw -----------------------------------------------
__global__ void __launch_bounds__(row::kThreads, 2)
    draw_kernel(const __grid_constant__ SampleParams p, const __grid_constant__ SlotTable table) {
  extern __shared__ __align__(16) row::Shared shared[];
  device::let_next_start();
  device::wait_for_inputs();
  const auto n = static_cast<int32_t>(blockIdx.x / row::kBlocks);
  const int32_t slot = p.slots[n];
  if (slot < 0) return;
  Row row = row::make_row(shared[0], p.vocab_limit);
  const SlotSampler sampler = table.samplers[slot];
  const SlotView view{sampler,
                      table.num_outputs[slot],
                      table.stop_ids + int64_t{slot} * kStopIdsMax,
                      table.biased + int64_t{slot} * kBiasedIdsMax,
                      table.counts + slot * table.vocab,
                      mask_of(p, n)};
  row::Question ask{-1,
                    sampler.num_logprobs,
                    sampler.raw_logits != 0,
                    p.top == nullptr ? nullptr : p.top + int64_t{n} * p.top_max,
                    p.top_max,
                    p.full == nullptr ? nullptr : p.full + int64_t{n} * p.vocab_limit};
  const DrawResult result = choose(row, source_of(p, p.rows[n]), view, p.positions[n], ask);
  // No block leaves, and no count changes, while another may still read.
  row::cg::this_cluster().sync();
  if (row::cg::this_cluster().block_rank() != 0 || threadIdx.x != 0) return;
  p.results[n] = result;
  if (p.last_tokens != nullptr) p.last_tokens[slot] = result.id;
  if (result.id >= 0) count_drawn(table, slot, result.id);
}

__global__ void __launch_bounds__(row::kThreads, 2)
    score_kernel(const __grid_constant__ ScoreParams p) {
  extern __shared__ __align__(16) row::Shared shared[];
  device::let_next_start();
  device::wait_for_inputs();
  const auto n = static_cast<int32_t>(blockIdx.x / row::kBlocks);
  Row row = row::make_row(shared[0], p.vocab_limit);
  const row::Source source = source_of(p, p.rows[n]);
  const row::Question ask{
      p.tokens[n],  p.num_logprobs,
      p.raw_logits, p.top == nullptr ? nullptr : p.top + int64_t{n} * p.top_max,
      p.top_max,    p.full == nullptr ? nullptr : p.full + int64_t{n} * p.vocab_limit};
  DrawResult result{ask.id, 0, 0, 0};
  row::load(row, source);
  const float max = row::packed_value(row::greatest_logit(row, true));
  if (row::is_finite(max)) {
    const row::Answer answer = row::describe(row, source, max, ask);
    result = {ask.id, 1, answer.logprob, answer.rank};
  }
  row::cg::this_cluster().sync();
  if (row::cg::this_cluster().block_rank() == 0 && threadIdx.x == 0) p.results[n] = result;
}

LaunchShape cluster_shape(int32_t num_rows, int32_t vocab) {
  return {dim3(static_cast<unsigned>(num_rows) * row::kBlocks), dim3(row::kThreads),
          row::shared_bytes(vocab), row::kBlocks};
}

}  // namespace

Result<void> prepare_draws(int32_t vocab, int32_t shared_bytes_max) {
  const int64_t bytes = row::shared_bytes(vocab);
  if (bytes > shared_bytes_max || row::ids_a_block(vocab) > row::kIdsABlockMax) {
    return Error{Code::kInvalidArgument,
                 "a vocabulary of " + std::to_string(vocab) + " tokens: a row takes " +
                     std::to_string(bytes) + " bytes of shared memory in each of " +
                     std::to_string(row::kBlocks) + " blocks; expected at most " +
                     std::to_string(shared_bytes_max)};
  }
  allow_shared(draw_kernel, bytes);
  allow_shared(score_kernel, bytes);
  return {};
}

void launch_draws(const SampleParams& p, const SlotTable& table, cudaStream_t stream) {
  launch(draw_kernel, cluster_shape(p.num_draws, p.vocab_limit), stream, p, table);
}

void launch_scores(const ScoreParams& p, cudaStream_t stream) {
  launch(score_kernel, cluster_shape(p.num_scores, p.vocab_limit), stream, p);
}

}  // namespace mimo::kernels::cuda
