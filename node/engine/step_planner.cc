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
      slots_(options.sequences_max, nullptr),
      output_of_slot_(options.sequences_max, nullptr) {}

StepPlanner::~StepPlanner() = default;

// --- Coming and going -------------------------------------------------------

void StepPlanner::add(SequenceRequest request) {
  const SequenceId id = request.id;
  auto sequence = std::make_unique<Sequence>(std::move(request), options_.positions_max);
  waiting_.push_back(sequence.get());
  CHECK(sequences_.emplace(id, std::move(sequence)).second);
}

void StepPlanner::abort(SequenceId id, std::vector<SequenceEvent>& events) {
  CHECK(!planned_);
  const auto found = sequences_.find(id);
  if (found == sequences_.end()) return;
  Sequence* sequence = found->second.get();
  events.push_back(sequence->finish(FinishReason::kCancelled, Error{Code::kOk, ""}));
  if (sequence->slot.value >= 0) {
    end(*sequence);
    std::erase(running_, sequence);
  } else {
    waiting_.erase(std::find(waiting_.begin(), waiting_.end(), sequence));
  }
  sequences_.erase(found);
}

void StepPlanner::fail_all(const Error& error, std::vector<SequenceEvent>& events) {
  for (Sequence* sequence : running_) {
    events.push_back(sequence->finish(FinishReason::kError, error));
    end(*sequence);
  }
  for (Sequence* sequence : waiting_) {
    events.push_back(sequence->finish(FinishReason::kError, error));
  }
  running_.clear();
  waiting_.clear();
  sequences_.clear();
  planned_ = false;
}

// The slot and its pages are free from here on; the next plan says so to the ranks.
void StepPlanner::end(Sequence& sequence) {
  index_->release(sequence.slot);
  releases_.push_back(sequence.slot);
  slots_[sequence.slot.value] = nullptr;
  sequence.slot = SlotId{-1};
}

bool StepPlanner::has_work() const {
  return !running_.empty() || !waiting_.empty() || !releases_.empty();
}

SlotId StepPlanner::take_free_slot() {
  const auto free = std::find(slots_.begin(), slots_.end(), nullptr);
  CHECK(free != slots_.end());
  return SlotId{static_cast<int32_t>(free - slots_.begin())};
}

// --- Planning ---------------------------------------------------------------

StepPlan StepPlanner::plan() {
  CHECK(!planned_);
  planned_ = true;
  StepPlan plan;
  plan.epoch = options_.epoch;
  plan.step = next_step_++;
  prefill_tokens_ = 0;
  newly_started_.clear();
  slide_windows();
  decide();
  plan.releases.swap(releases_);
  while (static_cast<int32_t>(running_.size()) > decision_.num_kept()) preempt_youngest(plan);
  plan_running(plan);
  plan_admissions(plan);
  index_->check_sums();
  return plan;
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
  const size_t num_free_slots = slots_.size() - running_.size();
  for (size_t i = 0; i < std::min(num_free_slots, waiting_.size()); ++i) {
    waiting_views_.push_back({waiting_[i]->num_known(), 0});
  }
  scheduler_.decide(
      {.running = running_views_,
       .waiting = waiting_views_,
       .free_pages = {index_->num_free(KvKind::kFull), index_->num_free(KvKind::kWindow)}},
      decision_);
}

void StepPlanner::preempt_youngest(StepPlan& plan) {
  Sequence* sequence = running_.back();
  running_.pop_back();
  waiting_.push_front(sequence);
  plan.releases.push_back(sequence->slot);
  index_->release(sequence->slot);
  slots_[sequence->slot.value] = nullptr;
  sequence->slot = SlotId{-1};
  sequence->forget_reads();
  ++num_preemptions_;
}

void StepPlanner::plan_running(StepPlan& plan) {
  for (size_t i = 0; i < running_.size(); ++i) {
    Sequence& sequence = *running_[i];
    if (sequence.pages_left_window > 0)
      plan.returns.push_back({sequence.slot, KvKind::kWindow, sequence.pages_left_window});
    sequence.step_rows = decision_.rows[i];
    if (sequence.step_rows == 0) continue;
    // The ranks know by themselves that a slot with one token left to read reads it.
    if (sequence.num_known() - sequence.num_read() > 1) {
      plan.prefills.push_back({sequence.slot, sequence.step_rows});
      prefill_tokens_ += sequence.step_rows;
    }
    reserve(sequence, plan);
  }
}

void StepPlanner::plan_admissions(StepPlan& plan) {
  for (const int32_t rows : decision_.admitted_rows) {
    Sequence& sequence = *waiting_.front();
    waiting_.pop_front();
    running_.push_back(&sequence);
    sequence.slot = take_free_slot();
    slots_[sequence.slot.value] = &sequence;
    sequence.step_rows = rows;
    sequence.pages_left_window = 0;
    if (!std::exchange(sequence.started, true)) newly_started_.push_back(sequence.id());
    plan.admissions.push_back(sequence.admission(sequence.slot));
    plan.prefills.push_back({sequence.slot, rows});
    prefill_tokens_ += rows;
    reserve(sequence, plan);
  }
}

void StepPlanner::reserve(Sequence& sequence, StepPlan& plan) {
  const auto granted = index_->reserve(sequence.slot, sequence.num_read() + sequence.step_rows);
  CHECK(granted.has_value());  // the scheduler counted the same pages
  for (const KvKind kind : {KvKind::kFull, KvKind::kWindow}) {
    const auto pages = (*granted)[static_cast<size_t>(kind)];
    if (pages.empty()) continue;
    plan.grants.push_back({sequence.slot, kind, {pages.begin(), pages.end()}});
  }
}

// --- What came of it --------------------------------------------------------

Result<void> StepPlanner::check_outputs(const StepResult& result) {
  if (result.step != next_step_ - 1)
    return unexpected("is of step " + std::to_string(result.step) + ", expected step " +
                      std::to_string(next_step_ - 1));
  std::fill(output_of_slot_.begin(), output_of_slot_.end(), nullptr);
  for (const SlotOutput& output : result.outputs) {
    const int32_t slot = output.slot.value;
    if (slot < 0 || slot >= options_.sequences_max || slots_[slot] == nullptr ||
        slots_[slot]->step_rows == 0)
      return unexpected("has an output of slot " + std::to_string(slot) +
                        ", which read nothing in step " + std::to_string(result.step));
    if (std::exchange(output_of_slot_[slot], &output) != nullptr)
      return unexpected("has two outputs of slot " + std::to_string(slot));
  }
  return {};
}

Result<void> StepPlanner::accept(const StepResult& result, std::vector<SequenceEvent>& events) {
  CHECK(planned_);
  TRY(check_outputs(result));
  decode_tokens_ = 0;
  for (Sequence* sequence : running_) {
    TRY(accept_one(*sequence, output_of_slot_[sequence->slot.value], events));
  }
  remove_finished();
  index_->check_sums();
  planned_ = false;
  return {};
}

Result<void> StepPlanner::accept_one(Sequence& sequence, const SlotOutput* output,
                                     std::vector<SequenceEvent>& events) {
  if (sequence.step_rows == 0) return {};
  SequenceEvent event;
  TRY_ASSIGN(const bool tell, sequence.advance(sequence.step_rows, output, options_.vocab, event));
  decode_tokens_ += static_cast<int32_t>(event.tokens.size());
  if (tell) events.push_back(std::move(event));
  return {};
}

void StepPlanner::remove_finished() {
  const auto gone = [&](Sequence* sequence) {
    if (!sequence->finished()) return false;
    end(*sequence);
    sequences_.erase(sequence->id());
    return true;
  };
  std::erase_if(running_, gone);
}

void StepPlanner::fill_stats(EngineStats& stats) const {
  stats.num_running = static_cast<int32_t>(running_.size());
  stats.num_waiting = static_cast<int32_t>(waiting_.size());
  stats.prefill_tokens = prefill_tokens_;
  stats.decode_tokens = decode_tokens_;
  stats.num_preemptions = num_preemptions_;
  for (const KvKind kind : {KvKind::kFull, KvKind::kWindow}) {
    stats.pages[static_cast<size_t>(kind)] = {index_->num_pages(kind), index_->num_free(kind)};
  }
}

}  // namespace mimo::node
