#include "node/service/leader_desk.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/log.h"

namespace mimo::node {
namespace {

void insert(std::vector<SequenceId>& ids, SequenceId id) {
  ids.insert(std::lower_bound(ids.begin(), ids.end(), id), id);
}

bool contains(const std::vector<SequenceId>& ids, SequenceId id) {
  return std::binary_search(ids.begin(), ids.end(), id);
}

void erase(std::vector<SequenceId>& ids, SequenceId id) {
  const auto at = std::lower_bound(ids.begin(), ids.end(), id);
  if (at != ids.end() && *at == id) ids.erase(at);
}

}  // namespace

void LeaderDesk::offer(Epoch epoch, Engine& engine) {
  std::lock_guard lock(mutex_);
  CHECK(engine_ == nullptr);
  engine_ = &engine;
  epoch_ = epoch;
  next_step_ = 0;
}

void LeaderDesk::withdraw(Epoch epoch, const Error& reason) {
  std::shared_ptr<LeaderStreamEnd> stream;
  {
    std::lock_guard lock(mutex_);
    if (engine_ == nullptr || epoch_ != epoch) return;
    engine_ = nullptr;
    live_.clear();
    stream = std::move(stream_);
  }
  if (stream != nullptr) stream->end(reason);
}

Result<void> LeaderDesk::open(Epoch epoch, std::shared_ptr<LeaderStreamEnd> stream) {
  std::lock_guard lock(mutex_);
  if (engine_ == nullptr || epoch_ != epoch) {
    return Error{Code::kFailedPrecondition,
                 "epoch " + std::to_string(epoch.value) + " is not served here; " +
                     (engine_ == nullptr ? std::string("none is")
                                         : "epoch " + std::to_string(epoch_.value) + " is")};
  }
  if (stream_ != nullptr) {
    return Error{Code::kAlreadyExists,
                 "epoch " + std::to_string(epoch.value) + " has a stream already"};
  }
  stream_ = std::move(stream);
  return {};
}

void LeaderDesk::close(const LeaderStreamEnd* stream) {
  std::lock_guard lock(mutex_);
  if (stream_.get() != stream) return;
  if (!live_.empty()) log_info("leader_stream_ended", {{"sequences_aborted", live_.size()}});
  if (engine_ != nullptr) {
    for (const SequenceId id : live_) engine_->abort(id);
  }
  live_.clear();
  stream_.reset();
}

Result<void> LeaderDesk::submit(const LeaderStreamEnd* stream, SequenceRequest request) {
  std::lock_guard lock(mutex_);
  if (engine_ == nullptr || stream_.get() != stream) return unavailable("the epoch is over");
  const SequenceId id = request.id;
  // Before the engine has it: its first event may come at once.
  insert(live_, id);
  Result<void> taken = engine_->submit(std::move(request));
  if (!taken.ok()) erase(live_, id);
  return taken;
}

void LeaderDesk::abort(const LeaderStreamEnd* stream, SequenceId id) {
  std::lock_guard lock(mutex_);
  if (engine_ != nullptr && stream_.get() == stream) engine_->abort(id);
}

void LeaderDesk::on_events(std::vector<SequenceEvent> events) {
  std::lock_guard lock(mutex_);
  // Those of a stream that has ended are on their way out.
  std::erase_if(events, [&](const SequenceEvent& event) { return !contains(live_, event.id); });
  if (stream_ == nullptr || events.empty()) return;
  for (const SequenceEvent& event : events) {
    if (event.finish != FinishReason::kNone) erase(live_, event.id);
  }
  if (stream_->send(events, next_step_)) return;
  if (engine_ != nullptr) {
    for (const SequenceId id : live_) engine_->abort(id);
  }
  live_.clear();
  stream_.reset();
}

}  // namespace mimo::node
