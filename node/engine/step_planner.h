#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "kvcache/kv_index.h"
#include "node/engine/engine.h"
#include "node/engine/scheduler.h"
#include "node/engine/sequence.h"
#include "node/engine/step_plan.h"

namespace mimo::node {

// The engine without its thread: which sequences there are, what the next step does, and what its
// result means for each of them. Plans may be made ahead of the results of the steps before: each
// step that is out is accepted once, oldest first.
//
//   waiting --plan()--> running --accept(), abort()--> gone
//      ^                 |   |                           ^
//      +--- preempted ---+   +-plan()-> leaving -accept()+
//
// Preempted: its pages go, its outputs stay; it is read anew, once its draws that are out are in.
// Leaving: the draws that are out are its last; slot and pages are released already.
//
// A plan made ahead takes for granted that what is being drawn goes on. Where it does not (a stop
// id, logits that are not finite, an abort), the rows planned since are read for nothing and their
// outputs dropped.
//
// Thread:    one.
// Invariant: every running sequence is older than every waiting one; held pages + free pages =
//            pool, for each layer group (checked by every plan()).
//            A slot or page that is free here is free on the ranks when they come to the next plan
//            made: what was released since the last one stands in it, before any grant. Ranks take
//            plans in order, so steps that are out do not matter.
//            An output belongs to whom its step's plan gave the slot, whoever has it by now.
class StepPlanner {
 public:
  // `options` are valid.
  explicit StepPlanner(const Engine::Options& options);
  ~StepPlanner();
  StepPlanner(const StepPlanner&) = delete;
  StepPlanner& operator=(const StepPlanner&) = delete;

  // The youngest from here on. `request` is valid and its id new.
  void add(SequenceRequest request);
  // Ends it with kCancelled in `events`; unknown ids are ignored.
  void abort(SequenceId id, std::vector<SequenceEvent>& events);
  // Ends all of them with `error`.
  void fail_all(const Error& error, std::vector<SequenceEvent>& events);

  // False: nothing runs, waits, is out or is to be told to the ranks.
  bool has_work() const;
  // False: a plan would have neither rows nor changes. Then has_work() means that a step is out.
  bool can_plan() const;
  int32_t num_steps_out() const { return static_cast<int32_t>(steps_out_.size()); }
  // The next step; can_plan().
  StepPlan plan();
  // What came of the oldest step that is out. An error says how the result does not fit its plan,
  // and the planner is only good for fail_all().
  Result<void> accept(const StepResult& result, std::vector<SequenceEvent>& events);

  // Sequences that left the waiting queue for the first time in the last plan().
  const std::vector<SequenceId>& newly_started() const { return newly_started_; }
  // Counts and pages as of now.
  void fill_stats(EngineStats& stats) const;

 private:
  // What one slot does in a step that is out.
  struct PlannedRows {
    Sequence* sequence = nullptr;  // null: it has ended since, its output is dropped
    SlotId slot;
    bool draws = false;
  };
  struct StepOut {
    int64_t step = 0;
    int32_t prefill_tokens = 0;
    std::vector<PlannedRows> rows;  // oldest sequence first
  };

  SlotId take_free_slot();
  void retire_ending();
  void slide_windows();
  void decide();
  void preempt_youngest();
  void plan_running(StepPlan& plan);
  void plan_admissions(StepPlan& plan);
  void plan_rows(Sequence& sequence, int32_t num_rows, StepPlan& plan);

  Result<void> check_outputs(const StepOut& out, const StepResult& result);
  Result<void> accept_one(const PlannedRows& rows, std::vector<SequenceEvent>& events);
  void free_slot(Sequence& sequence);
  void remove_finished(const StepOut& out);
  // The sequence is gone for good.
  void erase(Sequence* sequence);

  const Engine::Options options_;
  const Scheduler scheduler_;
  std::unique_ptr<kvcache::KvIndex> index_;
  std::unordered_map<SequenceId, std::unique_ptr<Sequence>> sequences_;
  std::vector<Sequence*> running_;  // oldest first
  std::deque<Sequence*> waiting_;   // oldest first
  std::vector<Sequence*> leaving_;
  std::vector<uint8_t> slot_taken_;  // [sequences_max]
  std::vector<SlotId> releases_;     // for the next plan
  std::vector<SequenceId> newly_started_;
  std::deque<StepOut> steps_out_;  // oldest first
  int64_t next_step_ = 0;
  int64_t num_preemptions_ = 0;
  int32_t prefill_tokens_ = 0;  // of the last result
  int32_t decode_tokens_ = 0;   // likewise

  // Scratch of plan() and accept(), kept so that steady decode allocates nothing.
  std::vector<SequenceView> running_views_;
  std::vector<SequenceView> waiting_views_;
  StepDecision decision_;
  StepOut spare_;
  std::vector<const SlotOutput*> output_of_slot_;  // [sequences_max]
  std::vector<uint8_t> slot_reads_;                // [sequences_max], in the step being accepted
};

}  // namespace mimo::node
