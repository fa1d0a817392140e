#include "node/engine/step_planner.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace mimo::node {
namespace {

using kvcache::KvKind;

SchedulerLimits limits_of(const Engine::Options& options) {
  SchedulerLimits limits{.sequences_max = options.sequences_max,
                         .batch_tokens_max = options.batch_tokens_max,
                         .prefill_chunk_max = options.prefill_chunk_max,
                         .prefill_chunk_min = options.prefill_chunk_min,
                         .groups = {}};
  for (const auto& pool : options.kv().pools) limits.groups.push_back(pool.spec);
  return limits;
}

Error unexpected(const std::string& what) { return internal_error("the step's result " + what); }

}  // namespace

StepPlanner::StepPlanner(const Engine::Options& options)
    : options_(options),
      scheduler_(limits_of(options)),
      index_(kvcache::KvIndex::create(options.kv()).value()),
      slot_taken_(options.sequences_max, 0),
      output_of_slot_(options.sequences_max, nullptr),
      slot_reads_(options.sequences_max, 0) {}

StepPlanner::~StepPlanner() = default;

// --- Coming and going -------------------------------------------------------

void StepPlanner::add(SequenceRequest request) {
  const SequenceId id = request.id;
  auto sequence = std::make_unique<Sequence>(std::move(request), options_.positions_max);
  waiting_.push_back(sequence.get());
  CHECK(sequences_.emplace(id, std::move(sequence)).second);
}

void StepPlanner::abort(SequenceId id, std::vector<SequenceEvent>& events) {
  const auto found = sequences_.find(id);
  if (found == sequences_.end()) return;
  Sequence* sequence = found->second.get();
  events.push_back(sequence->finish(FinishReason::kCancelled, Error{Code::kOk, ""}));
  std::erase(running_, sequence);
  erase(sequence);
}

void StepPlanner::fail_all(const Error& error, std::vector<SequenceEvent>& events) {
  steps_out_.clear();
  for (Sequence* sequence : running_) {
    events.push_back(sequence->finish(FinishReason::kError, error));
    free_slot(*sequence);
  }
  for (Sequence* sequence : waiting_) {
    events.push_back(sequence->finish(FinishReason::kError, error));
  }
  for (Sequence* sequence : leaving_) {
    events.push_back(sequence->finish(FinishReason::kError, error));
  }
  running_.clear();
  waiting_.clear();
  leaving_.clear();
  sequences_.clear();
}

// The slot and its pages are free from here on; the next plan says so to the ranks.
void StepPlanner::free_slot(Sequence& sequence) {
  index_->release(sequence.slot);
  releases_.push_back(sequence.slot);
  slot_taken_[sequence.slot.value] = 0;
  sequence.slot = SlotId{-1};
}

// It is in running_ no more.
void StepPlanner::erase(Sequence* sequence) {
  if (sequence->slot.value >= 0) {
    free_slot(*sequence);
  } else if (std::erase(leaving_, sequence) == 0) {
    CHECK_EQ(std::erase(waiting_, sequence), 1u);
  }
  for (StepOut& out : steps_out_) {
    for (PlannedRows& rows : out.rows) {
      if (rows.sequence == sequence) rows.sequence = nullptr;
    }
  }
  sequences_.erase(sequence->id());
}

bool StepPlanner::has_work() const {
  return !sequences_.empty() || !releases_.empty() || !steps_out_.empty();
}

bool StepPlanner::can_plan() const {
  if (!running_.empty() || !releases_.empty()) return true;
  return !waiting_.empty() && waiting_.front()->num_drawing() == 0;
}

SlotId StepPlanner::take_free_slot() {
  const auto free = std::find(slot_taken_.begin(), slot_taken_.end(), 0);
  CHECK(free != slot_taken_.end());
  *free = 1;
  return SlotId{static_cast<int32_t>(free - slot_taken_.begin())};
}

// --- Planning ---------------------------------------------------------------

StepPlan StepPlanner::plan() {
  CHECK(can_plan());
  StepPlan plan;
  plan.epoch = options_.epoch;
  plan.step = next_step_++;
  StepOut& out = steps_out_.emplace_back(std::exchange(spare_, StepOut{}));
  out.step = plan.step;
  out.prefill_tokens = 0;
  out.rows.clear();
  newly_started_.clear();
  retire_ending();
  slide_windows();
  decide();
  while (static_cast<int32_t>(running_.size()) > decision_.num_kept()) preempt_youngest();
  plan.releases.swap(releases_);
  plan_running(plan);
  plan_admissions(plan);
  index_->check_sums();
  return plan;
}

// What is never read needs no slot: the ranks would read the last token of a slot that stays.
void StepPlanner::retire_ending() {
  std::erase_if(running_, [this](Sequence* sequence) {
    if (!sequence->ends_with_draws()) return false;
    free_slot(*sequence);
    leaving_.push_back(sequence);
    return true;
  });
}

void StepPlanner::slide_windows() {
  for (Sequence* sequence : running_) {
    sequence->pages_left_window = index_->slide(sequence->slot, sequence->num_read());
  }
}

void StepPlanner::decide() {
  running_views_.clear();
  for (const Sequence* sequence : running_) {
    running_views_.push_back({sequence->num_known(), sequence->num_read()});
  }
  waiting_views_.clear();
  const size_t num_free_slots = slot_taken_.size() - running_.size();
  for (size_t i = 0; i < std::min(num_free_slots, waiting_.size()); ++i) {
    // Its token is not known yet, and nobody overtakes it.
    if (waiting_[i]->num_drawing() > 0) break;
    waiting_views_.push_back({waiting_[i]->num_known(), 0});
  }
  scheduler_.decide(
      {.running = running_views_,
       .waiting = waiting_views_,
       .free_pages = {index_->num_free(KvKind::kFull), index_->num_free(KvKind::kWindow)}},
      decision_);
}

void StepPlanner::preempt_youngest() {
  Sequence* sequence = running_.back();
  running_.pop_back();
  waiting_.push_front(sequence);
  free_slot(*sequence);
  sequence->forget_reads();
  ++num_preemptions_;
}

void StepPlanner::plan_running(StepPlan& plan) {
  for (size_t i = 0; i < running_.size(); ++i) {
    Sequence& sequence = *running_[i];
    if (sequence.pages_left_window > 0)
      plan.returns.push_back({sequence.slot, KvKind::kWindow, sequence.pages_left_window});
    const int32_t num_rows = decision_.rows[i];
    if (num_rows == 0) continue;
    // The ranks know by themselves that a slot with one token left to read reads it.
    if (sequence.num_known() - sequence.num_read() > 1) {
      plan.prefills.push_back({sequence.slot, num_rows});
      steps_out_.back().prefill_tokens += num_rows;
    }
    plan_rows(sequence, num_rows, plan);
  }
}

void StepPlanner::plan_admissions(StepPlan& plan) {
  for (const int32_t num_rows : decision_.admitted_rows) {
    Sequence& sequence = *waiting_.front();
    waiting_.pop_front();
    running_.push_back(&sequence);
    sequence.slot = take_free_slot();
    if (!std::exchange(sequence.started, true)) newly_started_.push_back(sequence.id());
    plan.admissions.push_back(sequence.admission(sequence.slot));
    plan.prefills.push_back({sequence.slot, num_rows});
    steps_out_.back().prefill_tokens += num_rows;
    plan_rows(sequence, num_rows, plan);
  }
}

void StepPlanner::plan_rows(Sequence& sequence, int32_t num_rows, StepPlan& plan) {
  const auto granted = index_->reserve(sequence.slot, sequence.num_read() + num_rows);
  CHECK(granted.has_value());  // the scheduler counted the same pages
  for (const KvKind kind : {KvKind::kFull, KvKind::kWindow}) {
    const auto pages = (*granted)[static_cast<size_t>(kind)];
    if (pages.empty()) continue;
    plan.grants.push_back({sequence.slot, kind, {pages.begin(), pages.end()}});
  }
  const bool draws = sequence.plan_rows(num_rows);
  steps_out_.back().rows.push_back({&sequence, sequence.slot, draws});
}

// --- What came of it --------------------------------------------------------

Result<void> StepPlanner::check_outputs(const StepOut& out, const StepResult& result) {
  if (result.step != out.step)
    return unexpected("is of step " + std::to_string(result.step) + ", expected step " +
                      std::to_string(out.step));
  std::fill(slot_reads_.begin(), slot_reads_.end(), 0);
  std::fill(output_of_slot_.begin(), output_of_slot_.end(), nullptr);
  for (const PlannedRows& rows : out.rows) slot_reads_[rows.slot.value] = 1;
  for (const SlotOutput& output : result.outputs) {
    const int32_t slot = output.slot.value;
    if (slot < 0 || slot >= options_.sequences_max || slot_reads_[slot] == 0)
      return unexpected("has an output of slot " + std::to_string(slot) +
                        ", which read nothing in step " + std::to_string(result.step));
    if (std::exchange(output_of_slot_[slot], &output) != nullptr)
      return unexpected("has two outputs of slot " + std::to_string(slot));
  }
  for (const PlannedRows& rows : out.rows) {
    const SlotOutput* output = output_of_slot_[rows.slot.value];
    const bool drew = output != nullptr && output->drew;
    if (drew == rows.draws) continue;
    return unexpected(std::string(drew ? "drew a token before all known ones were read"
                                       : "drew no token after the last known one") +
                      " of slot " + std::to_string(rows.slot.value));
  }
  return {};
}

Result<void> StepPlanner::accept(const StepResult& result, std::vector<SequenceEvent>& events) {
  CHECK(!steps_out_.empty());
  TRY(check_outputs(steps_out_.front(), result));
  StepOut out = std::move(steps_out_.front());
  steps_out_.pop_front();
  prefill_tokens_ = out.prefill_tokens;
  decode_tokens_ = 0;
  for (const PlannedRows& rows : out.rows) TRY(accept_one(rows, events));
  remove_finished(out);
  index_->check_sums();
  spare_ = std::move(out);
  return {};
}

Result<void> StepPlanner::accept_one(const PlannedRows& rows, std::vector<SequenceEvent>& events) {
  if (rows.sequence == nullptr) return {};
  SequenceEvent event;
  const SlotOutput* output = output_of_slot_[rows.slot.value];
  TRY_ASSIGN(const bool tell, rows.sequence->accept(rows.draws, output, options_.vocab, event));
  decode_tokens_ += static_cast<int32_t>(event.tokens.size());
  if (tell) events.push_back(std::move(event));
  return {};
}

void StepPlanner::remove_finished(const StepOut& out) {
  std::erase_if(running_, [](const Sequence* sequence) { return sequence->finished(); });
  for (const PlannedRows& rows : out.rows) {
    if (rows.sequence != nullptr && rows.sequence->finished()) erase(rows.sequence);
  }
}

void StepPlanner::fill_stats(EngineStats& stats) const {
  stats.num_running = static_cast<int32_t>(running_.size() + leaving_.size());
  stats.num_waiting = static_cast<int32_t>(waiting_.size());
  stats.prefill_tokens = prefill_tokens_;
  stats.decode_tokens = decode_tokens_;
  stats.num_preemptions = num_preemptions_;
  for (const KvKind kind : {KvKind::kFull, KvKind::kWindow}) {
    stats.pages[static_cast<size_t>(kind)] = {index_->num_pages(kind), index_->num_free(kind)};
  }
}

}  // namespace mimo::node
