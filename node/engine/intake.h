#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "base/bounded_queue.h"
#include "base/result.h"
#include "base/units.h"
#include "node/engine/engine.h"

namespace mimo::node {

struct EngineCommand {
  SequenceId id;
  std::unique_ptr<SequenceRequest> request;  // null: abort
};

// The engine's door: callers' threads on one side, the engine's on the other. Knows which sequences
// live and how many of them wait for their first slot, so that a full waiting room is refused at
// once and an abort always finds room in the queue: one a living sequence.
//
// Thread:    submit(), abort() and close() any; the rest the engine's.
class Intake {
 public:
  explicit Intake(const Engine::Options& options);

  Result<void> submit(SequenceRequest request);
  void abort(SequenceId id);
  // submit() answers `reason` from here on; the first reason stays.
  void close(const Error& reason);

  bool closed() const { return commands_.closed(); }
  // What came, oldest first; waits for the first one. Empty when none came in time, and at once
  // when the door is closed and all is taken.
  std::vector<EngineCommand> take_for(std::chrono::nanoseconds timeout);
  std::vector<EngineCommand> take_now() { return commands_.drain(); }

  // The sequences have their first slot, so there is room for as many to wait.
  void note_started(const std::vector<SequenceId>& ids);
  void note_ended(const std::vector<SequenceEvent>& events);

 private:
  enum class Stage : uint8_t { kWaiting, kStarted };
  struct Living {
    Stage stage = Stage::kWaiting;
    bool aborted = false;
  };

  const int32_t waiting_max_;
  BoundedQueue<EngineCommand> commands_;
  mutable std::mutex mutex_;  // callers need the answer at once, so no queue
  std::unordered_map<SequenceId, Living> living_;
  int32_t num_waiting_ = 0;
  Error closed_for_{Code::kOk, ""};
};

}  // namespace mimo::node
