#pragma once

#include <cstdint>

#include "kernels/sampling.h"

namespace mimo::kernels::cuda {

// A slot's parameters as the device keeps them; see SamplingParams.
struct SlotSampler {
  int32_t is_set = 0;
  int32_t penalizes = 0;  // then the slot's counts are kept
  float temperature = 1;
  float top_p = 1;
  float min_p = 0;
  float repetition_penalty = 1;
  float presence_penalty = 0;
  float frequency_penalty = 0;
  uint64_t seed = 0;
  int32_t top_k = 0;
  int32_t min_tokens = 0;
  int32_t num_stop_ids = 0;
  int32_t num_biased = 0;
  int32_t num_logprobs = -1;
  int32_t raw_logits = 0;
};

struct BiasedId {
  int32_t id = 0;
  float bias = 0;
};

// Every slot's sampler, in device memory.
struct SlotTable {
  SlotSampler* samplers = nullptr;  // [slots]
  int32_t* num_outputs = nullptr;   // [slots]
  int32_t* stop_ids = nullptr;      // [slots, kStopIdsMax]
  BiasedId* biased = nullptr;       // [slots, kBiasedIdsMax]
  uint32_t* counts = nullptr;       // [slots, vocab] kInPrompt, and how often it is an output
  int64_t vocab = 0;
};
constexpr uint32_t kInPrompt = 1u << 31;

#ifdef __CUDACC__
// One thread, when `id` has been drawn for the slot.
__device__ __forceinline__ void count_drawn(const SlotTable& table, int32_t slot, int32_t id) {
  table.num_outputs[slot] += 1;
  if (table.samplers[slot].penalizes != 0) table.counts[slot * table.vocab + id] += 1;
}
#endif

}  // namespace mimo::kernels::cuda
