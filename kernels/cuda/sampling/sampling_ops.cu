#include "kernels/cuda/sampling/sampling_ops.h"

#include <algorithm>
#include <type_traits>

#include "base/check.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/sampling/draw.h"
#include "kernels/cuda/sampling/greedy.h"
#include "kernels/device/pdl.cuh"

namespace mimo::kernels::cuda {
namespace {

// --- Setting a slot: all of it in the parameters of the launch
// ------------------------------------
constexpr int32_t kSetThreads = 256;
constexpr int32_t kPieceTokens = 7168;  // a launch has 32,764 bytes of parameters

struct SlotSetting {
  int32_t slot = 0;
  int32_t num_outputs = 0;
  SlotSampler sampler;
  int32_t stop_ids[kStopIdsMax] = {};
  BiasedId biased[kBiasedIdsMax] = {};
};

struct SeenPiece {
  int32_t slot = 0;
  int32_t count = 0;
  int32_t num_prompt = 0;  // the first so many are the prompt's
  int32_t ids[kPieceTokens] = {};
};
static_assert(sizeof(SlotSetting) + sizeof(SlotTable) < 32764, "parameters of a launch");
static_assert(sizeof(SeenPiece) + sizeof(SlotTable) < 32764, "parameters of a launch");

// One block.
__global__ void __launch_bounds__(kSetThreads)
    set_kernel(const __grid_constant__ SlotSetting setting,
               const __grid_constant__ SlotTable table) {
  device::let_next_start();
  device::wait_for_inputs();
  const int64_t slot = setting.slot;
  for (auto i = static_cast<int32_t>(threadIdx.x); i < setting.sampler.num_stop_ids;
       i += kSetThreads) {
    table.stop_ids[slot * kStopIdsMax + i] = setting.stop_ids[i];
  }
  for (auto i = static_cast<int32_t>(threadIdx.x); i < setting.sampler.num_biased;
       i += kSetThreads) {
    table.biased[slot * kBiasedIdsMax + i] = setting.biased[i];
  }
  if (threadIdx.x != 0) return;
  table.samplers[slot] = setting.sampler;
  table.num_outputs[slot] = setting.num_outputs;
}

// Grid [ceil(count / kSetThreads)].
__global__ void __launch_bounds__(kSetThreads)
    seen_kernel(const __grid_constant__ SeenPiece piece, const __grid_constant__ SlotTable table) {
  device::let_next_start();
  device::wait_for_inputs();
  const auto i = static_cast<int32_t>(blockIdx.x * kSetThreads + threadIdx.x);
  if (i >= piece.count) return;
  const int32_t id = piece.ids[i];
  if (id < 0 || id >= table.vocab) return;
  uint32_t* const count = table.counts + piece.slot * table.vocab + id;
  if (i < piece.num_prompt) {
    atomicOr(count, kInPrompt);
  } else {
    atomicAdd(count, 1u);
  }
}

// An id that comes twice has the sum of its biases.
int32_t put_biases(const SamplingParams& params, BiasedId* out) {
  int32_t count = 0;
  for (const auto& [id, bias] : params.logit_bias) {
    CHECK_GE(id, 0);
    BiasedId* const end = out + count;
    BiasedId* const found =
        std::find_if(out, end, [id = id](const BiasedId& other) { return other.id == id; });
    if (found != end) {
      found->bias += bias;
      continue;
    }
    CHECK_LT(count, kBiasedIdsMax);
    out[count++] = {id, bias};
  }
  return count;
}

SlotSetting setting_of(int32_t slot, const SamplerInit& init) {
  const SamplingParams& p = init.params;
  SlotSetting out;
  out.slot = slot;
  out.num_outputs = static_cast<int32_t>(init.tokens.size()) - init.num_prompt;
  SlotSampler& sampler = out.sampler;
  sampler.is_set = 1;
  sampler.penalizes =
      p.repetition_penalty != 1.0f || p.presence_penalty != 0.0f || p.frequency_penalty != 0.0f;
  sampler.temperature = p.temperature;
  sampler.top_p = p.top_p;
  sampler.min_p = p.min_p;
  sampler.repetition_penalty = p.repetition_penalty;
  sampler.presence_penalty = p.presence_penalty;
  sampler.frequency_penalty = p.frequency_penalty;
  sampler.seed = p.seed;
  sampler.top_k = p.top_k;
  sampler.min_tokens = p.min_tokens;
  sampler.num_logprobs = p.num_logprobs;
  sampler.raw_logits = p.raw_logits ? 1 : 0;
  CHECK_LE(p.stop_ids.size(), size_t{kStopIdsMax});
  for (const int32_t id : p.stop_ids) {
    CHECK_GE(id, 0);
    out.stop_ids[sampler.num_stop_ids++] = id;
  }
  sampler.num_biased = put_biases(p, out.biased);
  return out;
}

template <typename Params>
void check_logits(const Params& p, int64_t vocab_max) {
  CHECK_GT(p.num_shards, 0);
  CHECK_GT(p.shard_cols, 0);
  CHECK_GT(p.vocab_limit, 0);
  CHECK_LE(int64_t{p.vocab_limit}, int64_t{p.num_shards} * p.shard_cols);
  CHECK_LE(int64_t{p.vocab_limit}, vocab_max);
}

}  // namespace

struct SamplingOps::State {
  int32_t num_slots = 0;
  int32_t draws_max = 0;
  SlotTable table;
  GreedyCells cells;
};

SamplingOps::SamplingOps(DeviceContext& context)
    : context_(context), state_(std::make_unique<State>()) {}
SamplingOps::~SamplingOps() = default;

Result<void> SamplingOps::prepare(const StepLimits& limits) {
  State state;
  state.num_slots = limits.slots_max;
  state.draws_max = std::max({limits.slots_max, limits.runs_max, limits.logits_rows_max});
  TRY(prepare_draws(limits.vocab_padded, context_.shared_bytes_max()));
  const auto array = [&](auto& out, int64_t count) -> Result<void> {
    using Element = std::remove_reference_t<decltype(*out)>;
    TRY_ASSIGN(out, context_.allocate_array<Element>(count, Purpose::kWorkspace));
    return {};
  };
  const int64_t slots = state.num_slots;
  state.table.vocab = limits.vocab_padded;
  TRY(array(state.table.samplers, slots));
  TRY(array(state.table.num_outputs, slots));
  TRY(array(state.table.stop_ids, slots * kStopIdsMax));
  TRY(array(state.table.biased, slots * kBiasedIdsMax));
  TRY(array(state.table.counts, slots * state.table.vocab));
  TRY(array(state.cells.best, state.draws_max));
  TRY(array(state.cells.arrived, state.draws_max));
  *state_ = state;
  return {};
}

void SamplingOps::set_sampler(int32_t slot, const SamplerInit& init) {
  const SlotTable& table = state_->table;
  const auto num_tokens = static_cast<int32_t>(init.tokens.size());
  CHECK(slot >= 0 && slot < state_->num_slots);
  CHECK(init.num_prompt >= 0 && init.num_prompt <= num_tokens);
  const SlotSetting setting = setting_of(slot, init);
  launch(set_kernel, {dim3(1), dim3(kSetThreads)}, context_.stream(), setting, table);
  if (setting.sampler.penalizes == 0) return;
  CUDA_CHECK(cudaMemsetAsync(table.counts + slot * table.vocab, 0,
                             static_cast<size_t>(table.vocab) * sizeof(uint32_t),
                             context_.stream()));
  for (int32_t begin = 0; begin < num_tokens; begin += kPieceTokens) {
    SeenPiece piece;
    piece.slot = slot;
    piece.count = std::min(kPieceTokens, num_tokens - begin);
    piece.num_prompt = std::clamp(init.num_prompt - begin, 0, piece.count);
    std::copy_n(init.tokens.begin() + begin, piece.count, piece.ids);
    const int32_t num_blocks = (piece.count + kSetThreads - 1) / kSetThreads;
    launch(seen_kernel, {dim3(num_blocks), dim3(kSetThreads)}, context_.stream(), piece, table);
  }
}

void SamplingOps::clear_sampler(int32_t slot) {
  CHECK(slot >= 0 && slot < state_->num_slots);
  SlotSetting setting;
  setting.slot = slot;
  launch(set_kernel, {dim3(1), dim3(kSetThreads)}, context_.stream(), setting, state_->table);
}

void SamplingOps::sample(const SampleParams& p) {
  if (p.num_draws == 0) return;
  check_logits(p, state_->table.vocab);
  CHECK(p.num_draws > 0 && p.num_draws <= state_->draws_max);
  CHECK_GE(p.top_max, 0);
  CHECK(p.mask_rows == nullptr || (p.masks != nullptr && !p.plain_greedy));
  if (p.plain_greedy) {
    launch_greedy(p, state_->table, state_->cells, context_.num_sms(), context_.stream());
  } else {
    launch_draws(p, state_->table, context_.stream());
  }
}

void SamplingOps::score(const ScoreParams& p) {
  if (p.num_scores == 0) return;
  check_logits(p, state_->table.vocab);
  CHECK_GT(p.num_scores, 0);
  CHECK(p.num_logprobs >= kAllLogprobs);
  const bool listed = p.num_logprobs > 0 && p.num_logprobs <= std::min(p.top_max, kTopLogprobsMax);
  CHECK(p.num_logprobs == 0 || p.num_logprobs == -1 ||
        (listed ? static_cast<const void*>(p.top) : p.full) != nullptr);
  launch_scores(p, context_.stream());
}

}  // namespace mimo::kernels::cuda
