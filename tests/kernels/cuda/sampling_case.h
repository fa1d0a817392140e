#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "kernels/cuda/sampling/sampling_ops.h"
#include "tests/kernels/cuda/cuda_support.h"

// Rows of logits cut into shards, and the two backends that draw from them.
namespace mimo::kernels::cuda::test {

using mimo::kernels::test::kInfinity;
using mimo::kernels::test::kNan;
using mimo::kernels::test::random_floats;

// NaN past vocab_limit.
struct Logits {
  std::vector<std::vector<float>> rows;  // as drawn from
  int32_t vocab = 0;
  int32_t num_shards = 1;
  int32_t shard_cols = 0;
  std::vector<float> values;  // [num_shards][rows][shard_cols]
};
inline Logits cut(std::vector<std::vector<float>> rows, int32_t num_shards, int32_t padding = 0) {
  Logits out;
  out.vocab = static_cast<int32_t>(rows[0].size());
  out.num_shards = num_shards;
  out.shard_cols = (out.vocab + num_shards - 1) / num_shards + padding;
  const auto num_rows = rows.size();
  const auto cols = static_cast<size_t>(out.shard_cols);
  out.values.assign(num_rows * cols * static_cast<size_t>(num_shards), kNan);
  for (size_t r = 0; r < num_rows; ++r) {
    for (size_t i = 0; i < rows[r].size(); ++i) {
      out.values[(i / cols * num_rows + r) * cols + i % cols] = rows[r][i];
    }
  }
  out.rows = std::move(rows);
  return out;
}
inline Logits random_logits(int32_t num_rows, int32_t vocab, uint32_t seed, int32_t num_shards = 1,
                            int32_t padding = 0) {
  std::vector<std::vector<float>> rows;
  for (int32_t r = 0; r < num_rows; ++r) {
    rows.push_back(random_floats(vocab, seed + static_cast<uint32_t>(r), CpuMode::kF32, 2.5f));
  }
  return cut(std::move(rows), num_shards, padding);
}

// What one call asks for; draw n is of slots[n], or, in score(), of tokens[n].
struct Draws {
  std::vector<int32_t> rows;
  std::vector<int32_t> slots;
  std::vector<int32_t> positions;
  std::vector<int32_t> tokens;
  bool plain_greedy = false;
  int32_t num_logprobs = -1;  // of score()
  bool raw_logits = false;    // of score()
  int32_t top_max = 0;
  bool full = false;
  std::vector<uint32_t> masks;     // [*, ceil(vocab / 32)]
  std::vector<int32_t> mask_rows;  // empty: no draw has one
};
// Row n for slot n, all at one position.
inline Draws one_each(int32_t count, int32_t position) {
  Draws out;
  for (int32_t n = 0; n < count; ++n) {
    out.rows.push_back(n);
    out.slots.push_back(n);
    out.positions.push_back(position);
  }
  return out;
}

struct Drawn {
  std::vector<DrawResult> results;
  std::vector<int32_t> last_tokens;  // [slots]
  std::vector<TokenLogprob> top;     // [N, top_max]
  std::vector<float> full;           // [N, vocab]
};

template <typename Params>
void set_logits(Params& p, const Logits& logits, const float* values) {
  p.logits = values;
  p.num_shards = logits.num_shards;
  p.shard_cols = logits.shard_cols;
  p.vocab_limit = logits.vocab;
  p.num_rows = static_cast<int32_t>(logits.rows.size());
}

class GpuSampler {
 public:
  GpuSampler(const Logits& logits, int32_t num_slots) : logits_(logits), num_slots_(num_slots) {
    StepLimits limits;
    limits.slots_max = num_slots;
    limits.runs_max = num_slots;
    limits.logits_rows_max = static_cast<int32_t>(logits.rows.size());
    limits.vocab_padded = logits.num_shards * logits.shard_cols;
    ops_.prepare(limits).value();
    values_ = device_array(*context_, logits.values);
  }

  void set(int32_t slot, const SamplerInit& init) { ops_.set_sampler(slot, init); }
  void clear(int32_t slot) { ops_.clear_sampler(slot); }

  SampleParams params_of(const Draws& draws) {
    SampleParams p;
    set_logits(p, logits_, values_);
    set_outputs(p, draws);
    p.slots = device_array(*context_, draws.slots);
    p.positions = device_array(*context_, draws.positions);
    p.num_draws = static_cast<int32_t>(draws.rows.size());
    p.plain_greedy = draws.plain_greedy;
    if (!draws.mask_rows.empty()) {
      p.masks = device_array(*context_, draws.masks);
      p.mask_rows = device_array(*context_, draws.mask_rows);
    }
    p.last_tokens = poisoned_array<int32_t>(*context_, num_slots_);
    return p;
  }
  // Only queues; read() waits.
  void queue(const SampleParams& p) { ops_.sample(p); }
  Drawn read(const SampleParams& p) {
    Drawn out = outputs(p, p.num_draws);
    out.last_tokens = to_host(*context_, p.last_tokens, num_slots_);
    return out;
  }
  Drawn sample(const Draws& draws) {
    const SampleParams p = params_of(draws);
    queue(p);
    return read(p);
  }

  Drawn score(const Draws& draws) {
    ScoreParams p;
    set_logits(p, logits_, values_);
    set_outputs(p, draws);
    p.tokens = device_array(*context_, draws.tokens);
    p.num_scores = static_cast<int32_t>(draws.rows.size());
    p.num_logprobs = draws.num_logprobs;
    p.raw_logits = draws.raw_logits;
    ops_.score(p);
    return outputs(p, p.num_scores);
  }

 private:
  template <typename Params>
  void set_outputs(Params& p, const Draws& draws) {
    const auto count = static_cast<int64_t>(draws.rows.size());
    p.rows = device_array(*context_, draws.rows);
    p.results = poisoned_array<DrawResult>(*context_, count);
    p.top_max = draws.top_max;
    if (draws.top_max > 0) p.top = poisoned_array<TokenLogprob>(*context_, count * draws.top_max);
    if (draws.full) p.full = poisoned_array<float>(*context_, count * logits_.vocab);
  }
  template <typename Params>
  Drawn outputs(const Params& p, int32_t count) {
    Drawn out;
    out.results = to_host(*context_, p.results, count);
    if (p.top != nullptr) out.top = to_host(*context_, p.top, int64_t{count} * p.top_max);
    if (p.full != nullptr) out.full = to_host(*context_, p.full, int64_t{count} * p.vocab_limit);
    return out;
  }

  const Logits logits_;
  const int32_t num_slots_;
  std::unique_ptr<DeviceContext> context_ = make_context();
  SamplingOps ops_{*context_};
  const float* values_ = nullptr;
};

class CpuSampler {
 public:
  CpuSampler(const Logits& logits, int32_t num_slots) : logits_(logits), num_slots_(num_slots) {}

  void set(int32_t slot, const SamplerInit& init) { ops_->set_sampler(slot, init); }

  Drawn sample(const Draws& draws) {
    SampleParams p;
    Drawn out = outputs(draws);
    set_all(p, draws, out);
    out.last_tokens.assign(static_cast<size_t>(num_slots_), -1);
    p.slots = draws.slots.data();
    p.positions = draws.positions.data();
    p.num_draws = static_cast<int32_t>(draws.rows.size());
    p.last_tokens = out.last_tokens.data();
    if (!draws.mask_rows.empty()) {
      p.masks = draws.masks.data();
      p.mask_rows = draws.mask_rows.data();
    }
    ops_->sample(p);
    return out;
  }
  Drawn score(const Draws& draws) {
    ScoreParams p;
    Drawn out = outputs(draws);
    set_all(p, draws, out);
    p.tokens = draws.tokens.data();
    p.num_scores = static_cast<int32_t>(draws.rows.size());
    p.num_logprobs = draws.num_logprobs;
    p.raw_logits = draws.raw_logits;
    ops_->score(p);
    return out;
  }

 private:
  Drawn outputs(const Draws& draws) const {
    Drawn out;
    const size_t count = draws.rows.size();
    out.results.resize(count, {-1, -1, kNan, -1});
    out.top.resize(count * static_cast<size_t>(draws.top_max), {-1, kNan});
    if (draws.full) out.full.resize(count * static_cast<size_t>(logits_.vocab), kNan);
    return out;
  }
  template <typename Params>
  void set_all(Params& p, const Draws& draws, Drawn& out) const {
    set_logits(p, logits_, logits_.values.data());
    p.rows = draws.rows.data();
    p.results = out.results.data();
    p.top = draws.top_max > 0 ? out.top.data() : nullptr;
    p.top_max = draws.top_max;
    p.full = draws.full ? out.full.data() : nullptr;
  }

  const Logits logits_;
  const int32_t num_slots_;
  std::unique_ptr<Ops> ops_ = mimo::kernels::test::cpu_ops(CpuMode::kF32, 4);
};

// Parameters, and the tokens before the draw.
struct Filter {
  std::string name;
  SamplingParams params;
  std::vector<int32_t> tokens;
  int32_t num_prompt = 0;
  SamplerInit init(uint64_t seed) const {
    SamplerInit out{params, tokens, num_prompt};
    out.params.seed = seed;
    return out;
  }
};

inline std::vector<Filter> filters() {
  std::vector<Filter> out;
  const std::vector<int32_t> tokens{1, 2, 3, 3, 4, 7, 7, 7, 9, 200, 2};
  const auto add = [&](const char* name, auto change, bool with_tokens = false) {
    out.push_back({name, {}, with_tokens ? tokens : std::vector<int32_t>{}, with_tokens ? 4 : 0});
    change(out.back().params);
  };
  add("greedy", [](SamplingParams& p) { p.temperature = 0; });
  add("plain", [](SamplingParams&) {});
  add("hot", [](SamplingParams& p) { p.temperature = 3; });
  add("cold", [](SamplingParams& p) { p.temperature = 0.3f; });
  add("top_k_1", [](SamplingParams& p) { p.top_k = 1; });
  add("top_k", [](SamplingParams& p) { p.top_k = 20; });
  add("top_k_wide", [](SamplingParams& p) { p.top_k = 1 << 20; });
  add("top_p", [](SamplingParams& p) { p.top_p = 0.7f; });
  add("top_p_wide", [](SamplingParams& p) { p.top_p = 0.999f; });
  add("top_p_narrow", [](SamplingParams& p) { p.top_p = 1e-6f; });
  add("min_p", [](SamplingParams& p) { p.min_p = 0.05f; });
  add("all_filters", [](SamplingParams& p) {
    p.temperature = 2;
    p.top_k = 120;
    p.top_p = 0.8f;
    p.min_p = 0.01f;
  });
  const auto penalize = [](SamplingParams& p) {
    p.repetition_penalty = 1.8f;
    p.presence_penalty = 1.5f;
    p.frequency_penalty = -0.5f;
  };
  add("penalties", penalize, true);
  add("bias", [](SamplingParams& p) { p.logit_bias = {{3, 9.0f}, {8, -100.0f}, {1 << 20, 1.0f}}; });
  add(
      "min_tokens",
      [](SamplingParams& p) {
        p.min_tokens = 8;
        p.stop_ids = {0, 11, 1 << 20};
      },
      true);
  add(
      "together",
      [](SamplingParams& p) {
        p.repetition_penalty = 1.2f;
        p.presence_penalty = 0.5f;
        p.min_tokens = 100;
        p.stop_ids = {3, 5};
        p.logit_bias = {{7, 8.0f}, {3, 50.0f}};
        p.top_p = 0.9f;
        p.temperature = 1.5f;
      },
      true);
  return out;
}

}  // namespace mimo::kernels::cuda::test
