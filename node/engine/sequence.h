#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"
#include "base/units.h"
#include "node/engine/engine.h"

namespace mimo::node {

// One sequence on its way through the engine: its tokens, how far they are read, and the rules by
// which it ends. A token that is being drawn by a step that is out counts as known: that there is
// one is enough to plan the row that reads it.
//
// Thread:    the engine's.
// Invariant: num_read() < num_known() while it is not finished.
class Sequence {
 public:
  Sequence(SequenceRequest request, int32_t positions_max);

  SequenceId id() const { return request_.id; }
  int32_t num_known() const { return num_told() + num_drawing_; }
  int32_t num_read() const { return num_read_; }  // by all steps that were planned
  int32_t num_drawing() const { return num_drawing_; }
  bool finished() const { return finished_; }
  // The draws that are out are its last ones, whatever they are.
  bool ends_with_draws() const { return num_drawing_ > 0 && at_length(num_known()); }

  // What a slot is told; no draw is out. Prompt tokens that were scored already are not asked for
  // again.
  Admission admission(SlotId slot) const;
  // Everything is to be read anew.
  void forget_reads() { num_read_ = 0; }

  // The next step reads `num_rows` more tokens. True when it draws, having read the last known one.
  bool plan_rows(int32_t num_rows);
  // `output` (null: none) came of the oldest planned rows of which nothing was heard; `drew` as
  // plan_rows() said. Fills `event` and says whether there is something to tell; kInternal when
  // the output does not fit.
  Result<bool> accept(bool drew, const SlotOutput* output, int32_t vocab, SequenceEvent& event);
  // Ends it from outside.
  SequenceEvent finish(FinishReason reason, Error error);

  SlotId slot{-1};                // none while it waits or leaves
  int32_t pages_left_window = 0;  // in the step being planned
  bool started = false;           // has had a slot before

 private:
  int32_t num_told() const { return static_cast<int32_t>(tokens_.size()); }
  bool at_length(int32_t num_tokens) const;
  Result<void> take_prompt_scores(const SlotOutput& output, SequenceEvent& event);
  void draw(const kernels::TokenChoice& choice, SequenceEvent& event);
  // Never OK on bad data: logits with NaN end the sequence.
  void end_non_finite(int32_t position, SequenceEvent& event);
  void end_with(Error error, SequenceEvent& event);

  SequenceRequest request_;      // its prompt is moved to tokens_
  std::vector<int32_t> tokens_;  // prompt, then outputs
  const int32_t num_prompt_;
  const int32_t positions_max_;
  int32_t num_read_ = 0;
  int32_t num_drawing_ = 0;        // draws of steps that are out
  int32_t next_prompt_score_ = 1;  // prompt tokens before it are scored and told
  bool finished_ = false;
};

}  // namespace mimo::node
