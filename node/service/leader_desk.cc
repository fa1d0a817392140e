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

void LeaderDesk::offer(Epoch epoch, Engine& engine, std::shared_ptr<grammar::RuleSource> rules) {
  std::lock_guard lock(mutex_);
  CHECK(engine_ == nullptr);
  engine_ = &engine;
  rules_ = std::move(rules);
  epoch_ = epoch;
  next_step_ = 0;
}

void LeaderDesk::withdraw(Epoch epoch, const Error& reason) {
  std::shared_ptr<LeaderStreamEnd> stream;
  {
    std::lock_guard lock(mutex_);
    if (engine_ == nullptr || epoch_ != epoch) return;
    engine_ = nullptr;
    rules_ = nullptr;
    live_.clear();
    checking_.clear();
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
  checking_.clear();
  stream_.reset();
}

Result<void> LeaderDesk::submit(const LeaderStreamEnd* stream, SequenceRequest request) {
  std::lock_guard lock(mutex_);
  if (engine_ == nullptr || stream_.get() != stream) return unavailable("the epoch is over");
  const bool bound = request.constraint.kind != grammar::Spec::Kind::kNone;
  if (bound && rules_ != nullptr) return start_check(std::move(request));
  return submit_checked(std::move(request));
}

Result<void> LeaderDesk::submit_checked(SequenceRequest request) {
  const SequenceId id = request.id;
  // Before the engine has it: its first event may come at once.
  insert(live_, id);
  Result<void> taken = engine_->submit(std::move(request));
  if (!taken.ok()) erase(live_, id);
  return taken;
}

Result<void> LeaderDesk::start_check(SequenceRequest request) {
  const SequenceId id = request.id;
  if (contains(live_, id))
    return invalid_argument("id is " + std::to_string(id.value) + ", which is in use");
  const grammar::Spec spec = request.constraint;
  TRY(checks_.start(rules_, spec,
                    [this, epoch = epoch_, held = std::move(request)](const Result<void>& checked) {
                      end_check(epoch, held, checked);
                    }));
  insert(live_, id);
  insert(checking_, id);
  return {};
}

void LeaderDesk::end_check(Epoch epoch, SequenceRequest request, const Result<void>& checked) {
  std::lock_guard lock(mutex_);
  const SequenceId id = request.id;
  if (engine_ == nullptr || epoch_ != epoch || !contains(checking_, id)) return;
  erase(checking_, id);
  erase(live_, id);
  Result<void> taken = checked;
  if (taken.ok()) {
    // Only what this rank took: a spec that is refused would hold up the other ranks' compilations.
    engine_->announce(request.constraint);
    taken = submit_checked(std::move(request));
  }
  if (taken.ok()) return;
  SequenceEvent refused;
  refused.id = id;
  refused.finish = FinishReason::kError;
  refused.error = checked.ok() ? taken.error() : checked.error().with_context("constraint");
  tell({refused});
}

void LeaderDesk::abort(const LeaderStreamEnd* stream, SequenceId id) {
  std::lock_guard lock(mutex_);
  if (engine_ == nullptr || stream_.get() != stream) return;
  if (!contains(checking_, id)) return engine_->abort(id);
  erase(checking_, id);
  erase(live_, id);
  SequenceEvent cancelled;
  cancelled.id = id;
  cancelled.finish = FinishReason::kCancelled;
  tell({cancelled});
}

void LeaderDesk::on_events(std::vector<SequenceEvent> events) {
  std::lock_guard lock(mutex_);
  // Those of a stream that has ended are on their way out.
  std::erase_if(events, [&](const SequenceEvent& event) { return !contains(live_, event.id); });
  if (stream_ == nullptr || events.empty()) return;
  for (const SequenceEvent& event : events) {
    if (event.finish != FinishReason::kNone) erase(live_, event.id);
  }
  tell(events);
}

void LeaderDesk::tell(const std::vector<SequenceEvent>& events) {
  if (stream_->send(events, next_step_)) return;
  if (engine_ != nullptr) {
    for (const SequenceId id : live_) engine_->abort(id);
  }
  live_.clear();
  checking_.clear();
  stream_.reset();
}

}  // namespace mimo::node
