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
// result means for each of them. plan() and accept() take turns.
//
//   waiting --plan()--> running --accept(), abort()--> gone
//      ^                   |
//      +---- preempted ----+   (its pages go, its outputs stay; it is read anew)
//
// Thread:    one.
// Invariant: every running sequence is older than every waiting one; held pages + free pages =
//            pool, for each layer group (checked by every plan()).
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

  // False: nothing runs, waits or is to be told to the ranks.
  bool has_work() const;
  // The next step. CHECKs that the last one was accepted.
  StepPlan plan();
  // What came of the last plan(). An error says how the result does not fit it, and the planner is
  // only good for fail_all().
  Result<void> accept(const StepResult& result, std::vector<SequenceEvent>& events);

  // Sequences that left the waiting queue for the first time in the last plan().
  const std::vector<SequenceId>& newly_started() const { return newly_started_; }
  // Counts and pages as of now.
  void fill_stats(EngineStats& stats) const;

 private:
  SlotId take_free_slot();
  void slide_windows();
  void decide();
  void preempt_youngest(StepPlan& plan);
  void plan_running(StepPlan& plan);
  void plan_admissions(StepPlan& plan);
  void reserve(Sequence& sequence, StepPlan& plan);

  Result<void> check_outputs(const StepResult& result);
  Result<void> accept_one(Sequence& sequence, const SlotOutput* output,
                          std::vector<SequenceEvent>& events);
  void end(Sequence& sequence);
  void remove_finished();

  const Engine::Options options_;
  const Scheduler scheduler_;
  std::unique_ptr<kvcache::KvIndex> index_;
  std::unordered_map<SequenceId, std::unique_ptr<Sequence>> sequences_;
  std::vector<Sequence*> running_;  // oldest first
  std::deque<Sequence*> waiting_;   // oldest first
  std::vector<Sequence*> slots_;    // [sequences_max]; null = free
  std::vector<SlotId> releases_;    // for the next plan
  std::vector<SequenceId> newly_started_;
  bool planned_ = false;  // a plan was made and not yet accepted
  int64_t next_step_ = 0;
  int64_t num_preemptions_ = 0;
  int32_t prefill_tokens_ = 0;  // of the last plan
  int32_t decode_tokens_ = 0;   // of the last result

  // Scratch of plan() and accept(), kept so that steady decode allocates nothing.
  std::vector<SequenceView> running_views_;
  std::vector<SequenceView> waiting_views_;
  StepDecision decision_;
  std::vector<const SlotOutput*> output_of_slot_;  // [sequences_max]
};

}  // namespace mimo::node
