#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "mimo/v1/cluster.pb.h"
#include "mimo/v1/inference.pb.h"

namespace mimo::coordinator {

// What is served and what a request may ask for. Bounds are inclusive.
struct RequestLimits {
  std::string model;           // the served name
  int32_t vocab_limit = 0;     // token ids are below this
  int32_t positions_max = 0;   // prompt + outputs
  int32_t max_tokens_max = 0;  // 0 = as many as positions allow
  int32_t num_sequences_max = 64;
  int32_t candidates_max = 20;
  int32_t stop_texts_max = 16;
  int32_t stop_text_bytes_max = 256;
  int32_t stop_ids_max = 128;
  int32_t logit_bias_max = 1024;
  int32_t constraint_bytes_max = 256 << 10;  // of a constraint's text, or of its choices together
  int32_t constraint_choices_max = 4096;
  int32_t free_until_bytes_max = 256;
  int32_t request_id_bytes_max = 128;
  int64_t prompt_bytes_max = int64_t{8} << 20;
  int64_t message_bytes_max = int64_t{64} << 20;  // of one response
  bool has_tokenizer = false;
  bool allow_logits = false;  // all_candidates and raw_logits
  std::vector<int32_t> eos_ids;
  // In force where the request says nothing.
  float temperature = 1.0f;
  float top_p = 1.0f;
  int32_t top_k = 0;
};

// A request that has been checked: defaults filled in, bounds held.
struct GenerateSpec {
  std::string request_id;  // empty: the server's to choose
  bool is_text = false;
  std::string text;  // when is_text, until it is ids
  std::vector<int32_t> prompt;
  uint64_t seed = 0;
  int32_t num_sequences = 1;
  int32_t max_tokens = 0;  // 0 until the prompt's length is known
  int32_t min_tokens = 0;
  std::vector<std::string> stop_texts;
  bool include_stop = false;
  bool include_special = false;
  bool wants_logprobs = false;
  bool wants_prompt_scores = false;
  bool wants_all = false;
  // What goes to the leader, but for sequence_id, prompt, seed, max_tokens, num_prompt_logprobs.
  v1::Submit submit;
  int32_t num_prompt_logprobs = -1;
};

// The request, or a sentence with field, value and bound: kInvalidArgument; kUnimplemented for what
// this server does not do; kNotFound for another model. `fresh_seed` is used when it names none.
Result<GenerateSpec> parse_request(const v1::GenerateRequest& request, const RequestLimits& limits,
                                   uint64_t fresh_seed);

// What can be checked only when the text is ids: the prompt's length, max_tokens, and that what it
// asks for fits one message. Sets spec->max_tokens.
Result<void> check_prompt(const RequestLimits& limits, GenerateSpec* spec);

}  // namespace mimo::coordinator
