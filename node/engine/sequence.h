#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"
#include "base/units.h"
#include "node/engine/engine.h"

namespace mimo::node {

// One sequence on its way through the engine: its tokens, how far they are read, and the rules by
// which it ends.
//
// Thread:    the engine's.
// Invariant: num_read() < num_known() while it is not finished.
class Sequence {
 public:
  Sequence(SequenceRequest request, int32_t positions_max);

  SequenceId id() const { return request_.id; }
  int32_t num_known() const { return static_cast<int32_t>(tokens_.size()); }
  int32_t num_read() const { return num_read_; }
  bool finished() const { return finished_; }

  // What a slot is told. Prompt tokens that were scored already are not asked for again.
  Admission admission(SlotId slot) const;
  // Everything is to be read anew.
  void forget_reads() { num_read_ = 0; }

  // `num_rows` more tokens are read, and `output` (null: none) came of it. Fills `event` and says
  // whether there is something to tell; kInternal when the output does not fit the rows.
  Result<bool> advance(int32_t num_rows, const SlotOutput* output, int32_t vocab,
                       SequenceEvent& event);
  // Ends it from outside.
  SequenceEvent finish(FinishReason reason, Error error);

  // The running sequence's place in the step being planned.
  SlotId slot{-1};
  int32_t step_rows = 0;
  int32_t pages_left_window = 0;
  bool started = false;  // has had a slot before

 private:
  Result<void> take_prompt_scores(const SlotOutput& output, SequenceEvent& event);
  void draw(const kernels::TokenChoice& choice, SequenceEvent& event);
  // Never OK on bad data: logits with NaN end the sequence.
  void end_non_finite(int32_t position, SequenceEvent& event);

  SequenceRequest request_;      // its prompt is moved to tokens_
  std::vector<int32_t> tokens_;  // prompt, then outputs
  const int32_t num_prompt_;
  const int32_t positions_max_;
  int32_t num_read_ = 0;
  int32_t next_prompt_score_ = 1;  // prompt tokens before it are scored and told
  bool finished_ = false;
};

}  // namespace mimo::node
