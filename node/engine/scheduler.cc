#include "node/engine/scheduler.h"

#include <algorithm>

#include "base/check.h"

namespace mimo::node {

using kvcache::KvSpec;

struct Scheduler::Draft {
  const ScheduleInput& input;
  StepDecision& decision;
  int32_t rows_left = 0;
  std::array<int32_t, kvcache::kNumKvKinds> free{};
  std::array<int64_t, kvcache::kNumKvKinds> owed{};
  bool short_of_pages = false;

  int32_t& free_of(const KvSpec& spec) { return free[static_cast<size_t>(spec.kind)]; }
  int32_t free_of(const KvSpec& spec) const { return free[static_cast<size_t>(spec.kind)]; }
};

namespace {

int32_t num_pending(const SequenceView& sequence) {
  CHECK_GT(sequence.num_known, sequence.num_read);
  return sequence.num_known - sequence.num_read;
}

int32_t num_new_pages(const KvSpec& spec, const SequenceView& sequence, int32_t rows) {
  return spec.pages_for(sequence.num_read + rows) - spec.pages_for(sequence.num_read);
}

// To get through all known tokens and draw a page of them more.
int32_t num_pages_to_draw(const KvSpec& spec, const SequenceView& sequence) {
  return spec.pages_max(sequence.num_known + spec.page_tokens);
}

}  // namespace

Scheduler::Scheduler(const SchedulerLimits& limits) : limits_(limits) {
  CHECK_GT(limits.sequences_max, 0);
  CHECK_GT(limits.prefill_chunk_max, 0);
  CHECK_GE(limits.batch_tokens_max, limits.sequences_max);
}

void Scheduler::decide(const ScheduleInput& input, StepDecision& decision) const {
  decision.rows.assign(input.running.size(), 0);
  decision.admitted_rows.clear();
  Draft draft{.input = input,
              .decision = decision,
              .rows_left = limits_.batch_tokens_max,
              .free = input.free_pages};
  place_decodes(draft);
  place_chunks(draft);
  if (!draft.short_of_pages) admit(draft);
}

// What is left of the prompt is a chunk's worth, too.
int32_t Scheduler::chunk_of(const SequenceView& sequence, int32_t most) const {
  const int32_t pending = num_pending(sequence);
  most = std::min(most, limits_.prefill_chunk_max);
  if (most >= pending) return pending;
  const int32_t rows = std::min(most, pending - limits_.prefill_chunk_min);
  return rows >= limits_.prefill_chunk_min ? rows : 0;
}

int32_t Scheduler::rows_that_fit(const Draft& draft, const SequenceView& sequence,
                                 int32_t rows) const {
  int64_t fit = rows;
  for (const KvSpec& spec : limits_.groups) {
    const int64_t end_page = int64_t{spec.pages_for(sequence.num_read)} + draft.free_of(spec);
    fit = std::min(fit, end_page * spec.page_tokens - sequence.num_read);
  }
  return static_cast<int32_t>(fit);
}

void Scheduler::take_rows(Draft& draft, const SequenceView& sequence, int32_t rows) const {
  draft.rows_left -= rows;
  for (const KvSpec& spec : limits_.groups) {
    draft.free_of(spec) -= num_new_pages(spec, sequence, rows);
  }
}

void Scheduler::drop_youngest(Draft& draft) const {
  auto& rows = draft.decision.rows;
  CHECK_GT(rows.size(), 1u);  // the oldest stays
  const SequenceView& youngest = draft.input.running[rows.size() - 1];
  for (const KvSpec& spec : limits_.groups) {
    draft.free_of(spec) +=
        spec.pages_held(youngest.num_read) + num_new_pages(spec, youngest, rows.back());
  }
  draft.rows_left += rows.back();
  draft.short_of_pages = true;
  rows.pop_back();
}

void Scheduler::place_decodes(Draft& draft) const {
  auto& rows = draft.decision.rows;
  for (size_t i = 0; i < rows.size(); ++i) {
    const SequenceView& sequence = draft.input.running[i];
    if (num_pending(sequence) != 1) continue;
    while (rows.size() > i && rows_that_fit(draft, sequence, 1) < 1) drop_youngest(draft);
    if (rows.size() == i) return;
    rows[i] = 1;
    take_rows(draft, sequence, 1);
  }
  CHECK_GE(draft.rows_left, 0);
}

void Scheduler::place_chunks(Draft& draft) const {
  auto& rows = draft.decision.rows;
  for (size_t i = 0; i < rows.size() && draft.rows_left > 0; ++i) {
    const SequenceView& sequence = draft.input.running[i];
    if (num_pending(sequence) == 1) continue;
    const auto wanted = [&] { return chunk_of(sequence, draft.rows_left); };
    const auto fitting = [&] {
      return chunk_of(sequence, rows_that_fit(draft, sequence, wanted()));
    };
    while (i == 0 && wanted() > 0 && fitting() == 0) drop_youngest(draft);
    const int32_t fit = fitting();
    const bool all_fit = fit == wanted();
    rows[i] = fit;
    take_rows(draft, sequence, fit);
    if (all_fit) continue;
    draft.short_of_pages = true;
    return;
  }
}

void Scheduler::add_owed(const SequenceView& sequence, int32_t rows, Draft& draft) const {
  for (const KvSpec& spec : limits_.groups) {
    const int32_t held = spec.pages_held(sequence.num_read) + num_new_pages(spec, sequence, rows);
    const int32_t needed = num_pages_to_draw(spec, sequence);
    draft.owed[static_cast<size_t>(spec.kind)] += std::max(0, needed - held);
  }
}

bool Scheduler::has_pages_for(const Draft& draft, const SequenceView& sequence) const {
  if (draft.decision.num_kept() + draft.decision.admitted_rows.size() == 0) return true;
  return std::all_of(limits_.groups.begin(), limits_.groups.end(), [&](const KvSpec& spec) {
    return draft.owed[static_cast<size_t>(spec.kind)] + num_pages_to_draw(spec, sequence) <=
           draft.free_of(spec);
  });
}

void Scheduler::admit(Draft& draft) const {
  const auto& kept = draft.decision.rows;
  const auto num_free_slots = static_cast<size_t>(limits_.sequences_max) - kept.size();
  const size_t num_candidates = std::min(draft.input.waiting.size(), num_free_slots);
  if (num_candidates == 0) return;
  for (size_t i = 0; i < kept.size(); ++i) add_owed(draft.input.running[i], kept[i], draft);
  for (size_t i = 0; i < num_candidates; ++i) {
    const SequenceView& sequence = draft.input.waiting[i];
    if (draft.rows_left == 0 || !has_pages_for(draft, sequence)) return;
    const int32_t wanted = chunk_of(sequence, draft.rows_left);
    if (wanted == 0) return;
    const int32_t rows = chunk_of(sequence, rows_that_fit(draft, sequence, wanted));
    CHECK_GT(rows, 0);
    take_rows(draft, sequence, rows);
    draft.decision.admitted_rows.push_back(rows);
    add_owed(sequence, rows, draft);
  }
}

}  // namespace mimo::node
