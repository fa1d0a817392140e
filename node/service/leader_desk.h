#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "base/units.h"
#include "node/engine/constraint_checks.h"
#include "node/engine/engine.h"

namespace mimo::node {

// The end of a Leader.Serve stream, as the desk sees it.
//
// Thread: any; must not call the desk back.
class LeaderStreamEnd {
 public:
  virtual ~LeaderStreamEnd() = default;
  // False: what is waiting already is over the bound, and the stream ends.
  virtual bool send(const std::vector<SequenceEvent>& events, int64_t step) = 0;
  virtual void end(const Error& reason) = 0;
};

// Where the engine of the epoch under way and the coordinator's stream meet. Either may go at any
// time: the stream's end aborts its sequences, the engine's end ends the stream.
//
// A sequence under a constraint comes to the engine when that is known to compile. Until then it is
// the desk's: an abort or an end of the stream or the epoch finds it here.
//
// Thread:    any.
// Lifetime:  outlives engines and streams. An engine is withdrawn before it is destroyed.
// Invariant: one stream an epoch at most.
class LeaderDesk {
 public:
  // The engine serves `epoch` from here on, and takes constraints that `rules` (null: there are
  // none) can compile. The rules are shared with the checks under way.
  void offer(Epoch epoch, Engine& engine, std::shared_ptr<grammar::RuleSource> rules = nullptr);
  // No call into the engine is made any more; the stream, if there is one, ends with `reason`.
  void withdraw(Epoch epoch, const Error& reason);

  // kFailedPrecondition: no engine, or another epoch. kAlreadyExists: it has a stream.
  Result<void> open(Epoch epoch, std::shared_ptr<LeaderStreamEnd> stream);
  // The stream is over: its sequences end.
  void close(const LeaderStreamEnd* stream);

  // Requests of `stream`; of one that is no longer the desk's: kUnavailable.
  Result<void> submit(const LeaderStreamEnd* stream, SequenceRequest request);
  void abort(const LeaderStreamEnd* stream, SequenceId id);

  // The engine's hooks. Events of sequences that are not the stream's go nowhere. on_step() comes
  // after the step's events, so a step's number is one more than the last one heard of.
  void on_events(std::vector<SequenceEvent> events);
  void on_step(int64_t step) { next_step_ = step + 1; }

 private:
  Result<void> submit_checked(SequenceRequest request);
  Result<void> start_check(SequenceRequest request);
  void end_check(Epoch epoch, SequenceRequest request, const Result<void>& checked);
  void tell(const std::vector<SequenceEvent>& events);

  // Streams and engines come and go on threads of their own; while one of them speaks to the
  // other, neither may go.
  std::mutex mutex_;
  Epoch epoch_;
  Engine* engine_ = nullptr;
  std::shared_ptr<LeaderStreamEnd> stream_;  // gRPC has a share too
  std::vector<SequenceId> live_;             // of the stream, sorted
  std::vector<SequenceId> checking_;         // of these, those that the engine does not have yet
  std::shared_ptr<grammar::RuleSource> rules_;
  std::atomic<int64_t> next_step_{0};
  ConstraintChecks checks_{{}};  // last: its threads use all of the above
};

}  // namespace mimo::node
