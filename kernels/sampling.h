#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace mimo::kernels {

// How a sequence's tokens are drawn. Field meanings and bounds: proto/mimo/v1/inference.proto.
// In this order: stop_ids masked while there are fewer than min_tokens outputs, logit_bias added,
// the penalties, the draw's token mask if it has one, the greatest logit if greedy (ties: the lower
// id); else temperature, min_p, top_k, top_p, and a draw from what is left. The filters rank by
// logit, ties by the lower id.
struct SamplingParams {
  float temperature = 1.0f;  // below kGreedyTemperature = greedy
  float top_p = 1.0f;        // (0, 1]: the fewest tokens that hold this part of the probability
  int32_t top_k = 0;         // 0 = all
  float min_p = 0.0f;        // [0, 1]: of the most likely token's probability
  float repetition_penalty = 1.0f;
  float presence_penalty = 0.0f;
  float frequency_penalty = 0.0f;
  uint64_t seed = 0;
  int32_t min_tokens = 0;  // stop_ids cannot be drawn before so many output tokens
  std::vector<int32_t> stop_ids;
  std::vector<std::pair<int32_t, float>> logit_bias;
  int32_t num_logprobs = -1;  // -1 none, 0 the drawn token's, n also the n best; -2 = all tokens
  bool raw_logits = false;    // logprob fields carry logits instead
};
constexpr int32_t kAllLogprobs = -2;
constexpr float kGreedyTemperature = 1e-5f;
// What a slot may carry: a request's 128 stop ids beside the model's own ends, 1024 biased ids.
constexpr int32_t kStopIdsMax = 256;
constexpr int32_t kBiasedIdsMax = 1024;

// Greedy with nothing else asked for: see SampleParams::plain_greedy.
inline bool is_plain_greedy(const SamplingParams& p) {
  return p.temperature < kGreedyTemperature && p.repetition_penalty == 1.0f &&
         p.presence_penalty == 0.0f && p.frequency_penalty == 0.0f && p.min_tokens == 0 &&
         p.logit_bias.empty() && p.num_logprobs == -1;
}

// What a slot's draws depend on beside the logits. Penalties count `tokens`: all of them for the
// repetition penalty, those from num_prompt on for presence and frequency.
struct SamplerInit {
  SamplingParams params;
  std::span<const int32_t> tokens;  // prompt, then outputs so far
  int32_t num_prompt = 0;
};

struct TokenLogprob {
  int32_t id = 0;
  float logprob = 0;
  bool operator==(const TokenLogprob&) const = default;
};

// One drawn token, or one prompt token looked up. logprob, rank and top stay empty where
// num_logprobs is -1.
struct TokenChoice {
  int32_t id = -1;  // -1: none could be drawn (not finite)
  // Both of the model's own distribution, before masks, penalties and temperature.
  float logprob = 0;
  int32_t rank = 0;               // 1 = the most likely; equals rank by id
  std::vector<TokenLogprob> top;  // best first; kAllLogprobs: every id below vocab_limit, by id
  // False: the row held NaN or infinity below vocab_limit, or masks left nothing to draw.
  bool finite = true;
};

// A TokenChoice as a backend leaves it in its own memory: `top` stands elsewhere.
struct DrawResult {
  int32_t id = -1;
  int32_t finite = 1;
  float logprob = 0;
  int32_t rank = 0;
};

// The most candidates that a `top` row holds; more are taken from a `full` row.
constexpr int32_t kTopLogprobsMax = 32;
// Whether so many log-probabilities come out of a `full` row.
bool wants_full(int32_t num_logprobs);

// What a backend left of one row, brought to the host and put together. `top`: the row's
// candidates, at least those that there are of num_logprobs; `full` [vocab_limit], where
// wants_full().
TokenChoice make_choice(const DrawResult& result, int32_t num_logprobs,
                        std::span<const TokenLogprob> top, std::span<const float> full);

// Draws one token a row. logits [num_shards][R][shard_cols] f32 (as all_gather leaves them); column
// c of shard s is token s * shard_cols + c; tokens >= vocab_limit are masked. The draw at position
// p depends only on (seed, p), the slot's tokens and the row. A slot is drawn once a call.
//
// Everything here is the backend's memory. What a slot's num_logprobs asks for is written: n
// best into `top` where n <= kTopLogprobsMax and top_max; every token's into `full` where it is
// more or all.
struct SampleParams {
  const float* logits = nullptr;
  int32_t num_shards = 1;
  int32_t shard_cols = 0;
  int32_t vocab_limit = 0;
  int32_t num_rows = 0;                // R
  const int32_t* rows = nullptr;       // [N] which logits row each draw reads
  const int32_t* slots = nullptr;      // [N] whose sampler it is; -1: padding, nothing is drawn
  const int32_t* positions = nullptr;  // [N] the position that the drawn token will have
  int32_t num_draws = 0;               // N
  // True when every slot in `slots` is greedy with nothing else asked for: no penalties, bias,
  // minimum length, logprobs or mask.
  bool plain_greedy = false;
  int32_t* last_tokens = nullptr;  // [slots] the drawn id goes here too; -1 when not finite
  DrawResult* results = nullptr;   // [N]
  TokenLogprob* top = nullptr;     // [N, top_max] or null
  int32_t top_max = 0;
  float* full = nullptr;  // [N, vocab_limit] or null: log-probabilities (or logits) by id
  // Token t may be drawn where bit t % 32 of word t / 32 is set; nothing else brings it back.
  const uint32_t* masks = nullptr;     // [*, ceil(vocab_limit / 32)]
  const int32_t* mask_rows = nullptr;  // [N] the draw's row of `masks`, -1: none; null: all none
};

// Log-probabilities of given tokens (prompt logprobs); same logits layout, same outputs: a result's
// `id` is the token.
struct ScoreParams {
  const float* logits = nullptr;
  int32_t num_shards = 1;
  int32_t shard_cols = 0;
  int32_t vocab_limit = 0;
  int32_t num_rows = 0;
  const int32_t* rows = nullptr;    // [N]
  const int32_t* tokens = nullptr;  // [N]; -1: only `top` is wanted
  int32_t num_scores = 0;           // N
  int32_t num_logprobs = 0;         // as SamplingParams
  bool raw_logits = false;
  DrawResult* results = nullptr;  // [N]
  TokenLogprob* top = nullptr;    // [N, top_max] or null
  int32_t top_max = 0;
  float* full = nullptr;  // [N, vocab_limit] or null
};

}  // namespace mimo::kernels
