#include "node/engine/intake.h"

#include <string>
#include <utility>

#include "base/check.h"

namespace mimo::node {
namespace {

// What can come between two looks at the queue: W submissions, as many again when all that waited
// were aborted, and S for those that got a slot; and one abort for each of these and of the W + S
// that lived before. So 5 W + 3 S.
int64_t queue_capacity(const Engine::Options& options) {
  return 5 * int64_t{options.waiting_max} + 3 * int64_t{options.sequences_max};
}

}  // namespace

Intake::Intake(const Engine::Options& options)
    : waiting_max_(options.waiting_max), commands_(queue_capacity(options)) {}

Result<void> Intake::submit(SequenceRequest request) {
  std::lock_guard lock(mutex_);
  if (closed_for_.code != Code::kOk) return closed_for_;
  const SequenceId id = request.id;
  if (living_.count(id) != 0)
    return invalid_argument("id is " + std::to_string(id.value) + ", which is in use");
  if (num_waiting_ >= waiting_max_)
    return Error{Code::kResourceExhausted,
                 std::to_string(num_waiting_) + " sequences are waiting, which is the most"};
  CHECK(commands_.try_push({id, std::make_unique<SequenceRequest>(std::move(request))}));
  living_[id] = Living{};
  ++num_waiting_;
  return {};
}

void Intake::abort(SequenceId id) {
  std::lock_guard lock(mutex_);
  const auto found = living_.find(id);
  if (closed_for_.code != Code::kOk || found == living_.end() || found->second.aborted) return;
  found->second.aborted = true;
  CHECK(commands_.try_push({id, nullptr}));
}

void Intake::close(const Error& reason) {
  std::lock_guard lock(mutex_);
  if (closed_for_.code == Code::kOk) closed_for_ = reason;
  commands_.close();
}

std::vector<EngineCommand> Intake::take_for(std::chrono::nanoseconds timeout) {
  std::vector<EngineCommand> taken;
  auto first = commands_.pop_for(timeout);
  if (!first) return taken;
  taken.push_back(std::move(*first));
  for (EngineCommand& command : commands_.drain()) taken.push_back(std::move(command));
  return taken;
}

void Intake::note_started(const std::vector<SequenceId>& ids) {
  if (ids.empty()) return;
  std::lock_guard lock(mutex_);
  for (const SequenceId id : ids) {
    Living& living = living_.at(id);
    CHECK(living.stage == Stage::kWaiting);
    living.stage = Stage::kStarted;
    --num_waiting_;
  }
}

void Intake::note_ended(const std::vector<SequenceEvent>& events) {
  std::unique_lock lock(mutex_, std::defer_lock);
  for (const SequenceEvent& event : events) {
    if (event.finish == FinishReason::kNone) continue;
    if (!lock.owns_lock()) lock.lock();
    const auto found = living_.find(event.id);
    CHECK(found != living_.end());
    if (found->second.stage == Stage::kWaiting) --num_waiting_;
    living_.erase(found);
  }
}

}  // namespace mimo::node
