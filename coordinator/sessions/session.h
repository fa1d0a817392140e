#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/result.h"
#include "coordinator/sessions/generate_spec.h"
#include "coordinator/sessions/outbox.h"
#include "coordinator/sessions/output_text.h"
#include "coordinator/text/tokenizer.h"
#include "mimo/v1/cluster.pb.h"
#include "mimo/v1/inference.pb.h"

namespace mimo::coordinator {

// One request while it runs: the leader's events in, the client's messages out. Knows nothing of
// threads, clocks and connections.
//
// Thread:    one at a time.
// Lifetime:  the tokenizer outlives this.
// Invariant: an output's finished event is its last message; once ended() nothing is added.
class Session final {
 public:
  // Output i is sequence first_sequence_id + i. `tokenizer` may be nullptr: ids only. The spec's
  // prompt is ids by now (check_prompt()).
  static Result<Session> create(GenerateSpec spec, int64_t first_sequence_id,
                                const text::Tokenizer* tokenizer);

  int32_t num_outputs() const { return static_cast<int32_t>(outputs_.size()); }
  v1::Submit submit(int32_t output_idx) const;

  // The prompt event, unless it waits for the prompt's scores. Once, when all are submitted.
  void start(Outbox* outbox);

  // What one event brought. `cancels` gets the sequence when it must end at the leader because a
  // stop text was found. An error fails the request: nothing else may be added to the outbox but
  // the error event.
  Result<void> on_event(const v1::LeaderEvent& event, Outbox* outbox,
                        std::vector<int64_t>* cancels);

  // Every output that runs gets its text and a finished event with CANCELLED.
  void cancel_outputs(Outbox* outbox);

  // All outputs have their finished event.
  bool ended() const { return num_finished_ == num_outputs(); }
  // Sequences that the leader may still be running.
  std::vector<int64_t> live_sequences() const;
  v1::Usage usage() const;
  // How an output has ended; unspecified while it runs.
  v1::FinishReason reason(int32_t output_idx) const {
    return outputs_[static_cast<size_t>(output_idx)].reason;
  }
  int32_t num_tokens(int32_t output_idx) const {
    return outputs_[static_cast<size_t>(output_idx)].num_tokens;
  }

 private:
  struct Output {
    OutputText text;
    int32_t num_tokens = 0;
    v1::FinishReason reason = v1::FINISH_REASON_UNSPECIFIED;
  };
  struct Ending {
    v1::FinishReason reason = v1::FINISH_REASON_UNSPECIFIED;
    std::optional<int32_t> stop_text_idx;
    std::optional<int32_t> stop_token_id;
    std::string text;  // behind what was held back
  };

  Session(GenerateSpec spec, int64_t first_sequence_id, const text::Tokenizer* tokenizer)
      : spec_(std::move(spec)), first_sequence_id_(first_sequence_id), tokenizer_(tokenizer) {}

  void put_prompt(Outbox* outbox);
  Result<void> take_prompt_scores(const v1::LeaderEvent& event, Outbox* outbox);
  // The stop text that the token completed, if any.
  std::optional<int32_t> take_token(const v1::Choice& choice, int32_t output_idx, bool hidden,
                                    Outbox* outbox);
  void finish(int32_t output_idx, Ending ending, bool flush, Outbox* outbox);
  Result<void> finish_as_told(const v1::LeaderEvent& event, int32_t output_idx, Outbox* outbox);
  void fill_token(const v1::Choice& choice, bool with_logprob, v1::TokenInfo* info) const;
  std::string token_text(int32_t id) const;
  bool is_shown_stop(int32_t id) const;

  GenerateSpec spec_;
  int64_t first_sequence_id_;
  const text::Tokenizer* tokenizer_;
  std::vector<Output> outputs_;
  int32_t num_finished_ = 0;
  int64_t num_completion_tokens_ = 0;
  bool prompt_put_ = false;
  v1::PromptEvent prompt_event_;  // while its scores come
  int32_t num_scored_ = 0;        // prompt tokens with a score, the first one included
};

}  // namespace mimo::coordinator
