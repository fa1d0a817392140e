// What a rank gives its backend to do: a step's arrays, its bodies, and their records.
#include <string>
#include <utility>

#include "node/model/rank.h"

namespace mimo::node {

// What a recorded body reads stands at places that depend on the number of rows alone: the changes
// of the tables come last, and are done before it.
StepRows Rank::upload_rows(Pending& step) {
  kernels::Ops& ops = model_.ops();
  indices_.begin(step.copy);
  StepRows rows;
  rows.ids = indices_.add(rows_.ids);
  rows.runs.num_tokens = rows_.num_tokens();
  rows.runs.num_runs = rows_.num_runs();
  rows.runs.row_begin = indices_.add(rows_.row_begin);
  rows.runs.context = indices_.add(rows_.context);
  rows.runs.row_run = indices_.add(rows_.row_run);
  rows.runs.slot = indices_.add(rows_.slot);
  rows.runs.rows_per_run_max = rows_.rows_per_run_max;
  step.work = chooser_->lay_out(tasks_, indices_);
  const int32_t* const at = indices_.add(table_changes_.at);
  const int32_t* const pages = indices_.add(table_changes_.pages);
  indices_.upload();
  if (!table_changes_.at.empty()) {
    ops.scatter({.table = model_.page_tables().entries,
                 .at = at,
                 .values = pages,
                 .count = static_cast<int32_t>(table_changes_.at.size())});
  }
  return rows;
}

Result<void> Rank::queue(Pending& step, bool decodes) {
  kernels::Ops& ops = model_.ops();
  const StepRows rows = upload_rows(step);
  const auto body = [&]() -> Result<void> {
    TRY(model_.forward(rows, *group_));
    if (step.held) return {};
    return chooser_->queue(step.work, *group_);
  };
  if (decodes) {
    const Body kind = step.held                ? Body::kForward
                      : step.work.plain_greedy ? Body::kGreedy
                                               : Body::kDraws;
    const auto key = static_cast<uint64_t>(rows_.num_tokens()) * 4;
    TRY(ops.recorded(key + static_cast<uint64_t>(kind), body));
  } else if (rows_.num_tokens() > 0) {
    TRY(body());
  }
  if (!step.held) chooser_->download(step.work, step.copy);
  step.mark = ops.mark();
  indices_.sent(step.mark);
  return {};
}

// The masks are made while the device computes the forward pass. What the draws read of the step's
// arrays is still there: nothing newer is queued before them.
Result<void> Rank::queue_draws(Pending& step) {
  std::vector<SlotId> slots;
  for (const int32_t i : step.work.masked) slots.push_back(SlotId{step.work.tasks[i].slot});
  step.work.masks = masks_->fill(slots, step.copy, step.rules_errors);
  TRY(chooser_->queue(step.work, *group_));
  chooser_->download(step.work, step.copy);
  step.mark = model_.ops().mark();
  masks_->sent(step.copy, step.mark);
  step.held = false;
  return {};
}

Result<void> Rank::record() {
  if (broken_) return *broken_;
  if (std::exchange(recorded_, true)) return {};
  const auto recorded = record_all();
  if (!recorded.ok()) return fail(recorded.error());
  return {};
}

// A backend that works in the call has nothing to record.
Result<void> Rank::record_all() {
  kernels::Ops& ops = model_.ops();
  if (ops.steps_in_flight_max() == 1) return {};
  // Once as it is: what a backend makes at a first call is no part of a record.
  TRY(record_step(ops.padded_rows(1), Body::kGreedy, true));
  TRY(record_step(ops.padded_rows(1), Body::kDraws, true));
  int32_t done = 0;
  for (int32_t n = 1; n <= static_cast<int32_t>(slots_.size()); ++n) {
    const int32_t num_rows = ops.padded_rows(n);
    if (num_rows == done) continue;
    TRY(record_step(num_rows, Body::kGreedy, false));
    TRY(record_step(num_rows, Body::kDraws, false));
    if (masks_->has_source()) TRY(record_step(num_rows, Body::kForward, false));
    done = num_rows;
  }
  return {};
}

Result<void> Rank::record_step(int32_t num_rows, Body body, bool once) {
  Pending step;
  step.held = body == Body::kForward;
  rows_.clear();
  tasks_.clear();
  table_changes_.at.clear();
  table_changes_.pages.clear();
  pad(num_rows);
  tasks_.front().plain_greedy = body == Body::kGreedy;
  TRY(queue(step, !once));
  model_.ops().wait(step.mark);
  return {};
}

}  // namespace mimo::node
