#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "kvcache/kv_spec.h"

namespace mimo::node {

// A sequence as the scheduler sees it. num_known > num_read; running sequences hold exactly the
// pages of KvSpec::pages_held(num_read), waiting ones none.
struct SequenceView {
  int32_t num_known = 0;  // tokens there are
  int32_t num_read = 0;   // of these, already in the KV cache; 0 for waiting sequences
};

struct SchedulerLimits {
  int32_t sequences_max = 0;     // running at once
  int32_t batch_tokens_max = 0;  // rows of a step; >= sequences_max
  int32_t prefill_chunk_max = 0;
  // No chunk of a prompt has fewer rows, but for a prompt that has fewer. A sequence waits for a
  // step that has room.
  int32_t prefill_chunk_min = 1;
  std::vector<kvcache::KvSpec> groups;  // those with layers
};

struct ScheduleInput {
  std::span<const SequenceView> running;  // oldest first; all of them older than all of `waiting`
  std::span<const SequenceView> waiting;  // oldest first; no more than the free slots are looked at
  std::array<int32_t, kvcache::kNumKvKinds> free_pages{};  // by KvKind
};

// What the next step does. Filled anew by each decide(); kept by the caller so that it allocates
// nothing in the steady state.
struct StepDecision {
  std::vector<int32_t> rows;           // of the running sequences that stay, oldest first; may be 0
  std::vector<int32_t> admitted_rows;  // of the waiting sequences that start, oldest first; >= 1
  // Running sequences from num_kept on, the youngest, are preempted.
  int32_t num_kept() const { return static_cast<int32_t>(rows.size()); }
};

// Continuous batching as a pure function of (sequences, limits, free pages).
//
// 1. Every running sequence with one token left to read gets its row, oldest first. Out of pages:
//    the youngest running sequence is preempted, at last the one that asks.
// 2. The other running sequences get chunks of their known tokens, oldest first, as far as rows and
//    pages go. Only the oldest preempts for a chunk. The first that lacks pages ends the step.
// 3. Waiting sequences start, oldest first, while there are rows, slots and pages for everybody's
//    known tokens and one page more: a newcomer should draw some tokens before it can be preempted.
//    Not in a step that lacked pages. Alone, a sequence always starts.
//
// The oldest sequence is never preempted and gets a row in every step, provided that each one fits
// the empty pool (KvSpec::pages_max).
class Scheduler {
 public:
  explicit Scheduler(const SchedulerLimits& limits);

  void decide(const ScheduleInput& input, StepDecision& decision) const;

 private:
  struct Draft;  // the decision in the making: what is left of rows and pages

  void place_decodes(Draft& draft) const;
  void place_chunks(Draft& draft) const;
  void admit(Draft& draft) const;

  // Rows of the next chunk, at most `most`; 0: they are too few.
  int32_t chunk_of(const SequenceView& sequence, int32_t most) const;
  // As many of `rows` as the free pages hold.
  int32_t rows_that_fit(const Draft& draft, const SequenceView& sequence, int32_t rows) const;
  void take_rows(Draft& draft, const SequenceView& sequence, int32_t rows) const;
  void drop_youngest(Draft& draft) const;
  // Adds to draft.owed the pages that the sequence will ask for in later steps.
  void add_owed(const SequenceView& sequence, int32_t rows, Draft& draft) const;
  bool has_pages_for(const Draft& draft, const SequenceView& sequence) const;

  const SchedulerLimits limits_;
};

}  // namespace mimo::node
