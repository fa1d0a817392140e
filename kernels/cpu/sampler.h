#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "kernels/ops.h"

namespace mimo::kernels {

// Memory that one draw leaves to the next.
struct SamplerBuffers {
  std::vector<float> row;      // [vocab_limit] logits
  std::vector<float> model;    // the same before bias and penalties
  std::vector<float> weights;  // of the candidates
  std::vector<float> kept;     // logits of the candidates that top_k leaves
  std::vector<int32_t> ids;    // theirs
};

// Where the candidates of one row go; see SampleParams.
struct Listed {
  std::span<TokenLogprob> top;
  float* full = nullptr;  // [vocab_limit] or null
};

// Draws one sequence's tokens: its parameters, and what it has to remember of the tokens so far.
//
// Thread:    one at a time.
class Sampler {
 public:
  explicit Sampler(const SamplerInit& init);

  // The token at `position`. buffers.row: the model's logits, overwritten. `mask` as in
  // SampleParams; empty: none. Does not count it.
  DrawResult choose(int32_t position, std::span<const uint32_t> mask, SamplerBuffers& buffers,
                    const Listed& listed) const;
  void count(int32_t id);

 private:
  struct Seen {
    bool before = false;  // in the prompt
    int32_t outputs = 0;
  };

  bool penalizes() const;
  // Minimum length, bias, penalties, then the mask, on the logits.
  void adjust(std::span<float> row, std::span<const uint32_t> mask) const;
  int32_t draw_from(std::span<const float> row, float max, int32_t position,
                    SamplerBuffers& buffers) const;

  SamplingParams params_;
  int32_t num_outputs_ = 0;
  std::unordered_map<int32_t, Seen> seen_;  // empty when nothing is penalized
};

// What the logits say of token `id` (-1: no token), before anything is done to them.
// num_logprobs as in SamplingParams; -1 leaves all of it as it is.
void describe(std::span<const float> row, float max, int32_t num_logprobs, bool raw_logits,
              std::vector<float>& buffer, const Listed& listed, DrawResult& result);

}  // namespace mimo::kernels
