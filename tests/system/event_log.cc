#include "tests/system/event_log.h"

namespace mimo::testing {

// The sink is promised one call at a time.
struct EventLog::Turn {
  explicit Turn(EventLog& log) : lock(log.turn_, std::try_to_lock) {
    std::lock_guard guard(log.mutex_);
    if (!lock.owns_lock()) log.overlapped_ = true;
  }
  std::unique_lock<std::mutex> lock;
};

coordinator::LeaderSink EventLog::sink() {
  coordinator::LeaderSink sink;
  sink.on_events = [this](const v1::LeaderEvents& events) {
    const Turn turn(*this);
    std::lock_guard lock(mutex_);
    for (const v1::LeaderEvent& event : events.events()) {
      Sequence& sequence = sequences_[event.sequence_id()];
      for (const v1::Choice& token : event.tokens()) sequence.tokens.push_back(token.id());
      sequence.finish = event.finish();
      sequence.error_code = event.error_code();
      sequence.error_message = event.error_message();
    }
    changed_.notify_all();
  };
  sink.on_lost = [this](const Error&) {
    const Turn turn(*this);
    std::lock_guard lock(mutex_);
    ++num_lost_;
    changed_.notify_all();
  };
  sink.on_serving = [this](int64_t epoch) {
    const Turn turn(*this);
    std::lock_guard lock(mutex_);
    epochs_.push_back(epoch);
    changed_.notify_all();
  };
  return sink;
}

bool EventLog::wait(std::chrono::milliseconds timeout, const std::function<bool()>& predicate) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, timeout, predicate);
}

bool EventLog::wait_serving(int32_t times, std::chrono::milliseconds timeout) {
  return wait(timeout, [&] { return static_cast<int32_t>(epochs_.size()) >= times; });
}

bool EventLog::wait_lost(int32_t times, std::chrono::milliseconds timeout) {
  return wait(timeout, [&] { return num_lost_ >= times; });
}

bool EventLog::wait_tokens(int64_t sequence, size_t count, std::chrono::milliseconds timeout) {
  return wait(timeout, [&] { return sequences_[sequence].tokens.size() >= count; });
}

bool EventLog::wait_finished(int64_t sequence, std::chrono::milliseconds timeout) {
  return wait(timeout, [&] { return sequences_[sequence].finish != 0; });
}

EventLog::Sequence EventLog::sequence(int64_t id) {
  std::lock_guard lock(mutex_);
  return sequences_[id];
}

std::vector<int64_t> EventLog::epochs() {
  std::lock_guard lock(mutex_);
  return epochs_;
}

int32_t EventLog::num_lost() {
  std::lock_guard lock(mutex_);
  return num_lost_;
}

bool EventLog::was_called_twice_at_once() {
  std::lock_guard lock(mutex_);
  return overlapped_;
}

}  // namespace mimo::testing
