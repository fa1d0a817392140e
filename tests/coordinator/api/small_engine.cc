#include "tests/coordinator/api/small_engine.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/check.h"

namespace mimo::coordinator {
namespace {

constexpr auto kPatience = std::chrono::seconds(20);

void fill_choice(int32_t id, int32_t num_logprobs, v1::Choice* choice) {
  choice->set_id(id);
  if (num_logprobs < 0) return;
  choice->set_logprob(-0.5f);
  choice->set_rank(1);
  for (int32_t i = 0; i < num_logprobs; ++i) {
    choice->add_top_ids(std::max(id - i, 0));
    choice->add_top_logprobs(-0.5f - static_cast<float>(i));
  }
}

}  // namespace

void SmallEngine::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void SmallEngine::connect(LeaderSink sink) {
  sink_ = std::move(sink);
  thread_ = std::thread([this] { run(); });
  serve();
}

void SmallEngine::serve() {
  int64_t epoch = 0;
  {
    std::lock_guard lock(mutex_);
    serving_ = true;
    epoch = ++epoch_;
  }
  sink_.on_serving(epoch);
}

std::thread::id SmallEngine::submitter() const {
  std::lock_guard lock(mutex_);
  return submitter_;
}

Result<void> SmallEngine::submit(v1::Submit submit) {
  {
    std::lock_guard lock(mutex_);
    submitter_ = std::this_thread::get_id();
    if (!serving_) return unavailable("no group");
    if (static_cast<int32_t>(live_.size()) >= options_.sequences_max)
      return Error{Code::kResourceExhausted, "the queue to the leader is full"};
    const int64_t id = submit.sequence_id();
    CHECK(live_.emplace(id, Sequence{std::move(submit)}).second);
  }
  changed_.notify_all();
  return {};
}

void SmallEngine::cancel(int64_t sequence_id) {
  {
    std::lock_guard lock(mutex_);
    live_.erase(sequence_id);
  }
  changed_.notify_all();
}

void SmallEngine::step(int32_t count) {
  std::unique_lock lock(mutex_);
  const int64_t wanted = num_steps_ + count;
  tickets_ += count;
  changed_.notify_all();
  CHECK(changed_.wait_for(lock, kPatience, [&] { return num_steps_ >= wanted && !delivering_; }));
}

void SmallEngine::fail(int64_t sequence_id, const Error& error) {
  std::lock_guard lock(mutex_);
  live_.at(sequence_id).error = error;
}

void SmallEngine::lose(const Error& error) {
  {
    std::unique_lock lock(mutex_);
    serving_ = false;
    live_.clear();
    CHECK(changed_.wait_for(lock, kPatience, [&] { return !delivering_; }));
  }
  sink_.on_lost(error);
}

GroupStatus SmallEngine::status() const {
  std::lock_guard lock(mutex_);
  GroupStatus status;
  status.state = serving_ ? GroupState::kServing : GroupState::kWaiting;
  status.reason = serving_ ? "" : "0 of 2 workers have joined";
  status.epoch = epoch_;
  status.size = 2;
  status.backend = "cpu";
  status.full_pages = 100;
  status.full_pages_free = 75;
  status.window_pages = 50;
  status.window_pages_free = 50;
  status.sequences_max = 64;
  status.running = static_cast<int32_t>(live_.size());
  status.steps = num_steps_;
  v1::WorkerInfo& worker = status.workers.emplace_back();
  worker.set_worker_id("w0");
  worker.set_state("serving");
  return status;
}

int32_t SmallEngine::num_live() const {
  std::lock_guard lock(mutex_);
  return static_cast<int32_t>(live_.size());
}

bool SmallEngine::wait_live(int32_t count) const {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, kPatience,
                           [&] { return static_cast<int32_t>(live_.size()) == count; });
}

void SmallEngine::run() {
  auto next = std::chrono::steady_clock::now();
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    const auto may_step = [&] {
      return stopping_ || (options_.by_hand ? tickets_ > 0 : serving_ && !live_.empty());
    };
    if (!changed_.wait_for(lock, kPatience, may_step) || stopping_) continue;
    if (options_.step_ns > 0) {
      next = std::max(next + std::chrono::nanoseconds(options_.step_ns),
                      std::chrono::steady_clock::now());
      changed_.wait_until(lock, next, [&] { return stopping_; });
    }
    step_locked(&lock);
  }
}

void SmallEngine::step_locked(std::unique_lock<std::mutex>* lock) {
  v1::LeaderEvents events;
  for (auto at = live_.begin(); at != live_.end();) {
    v1::LeaderEvent* event = events.add_events();
    event->set_sequence_id(at->first);
    at = draw(&at->second, event) ? live_.erase(at) : std::next(at);
  }
  delivering_ = true;
  lock->unlock();
  if (events.events_size() > 0) sink_.on_events(events);
  lock->lock();
  delivering_ = false;
  ++num_steps_;
  if (options_.by_hand) --tickets_;
  changed_.notify_all();
}

bool SmallEngine::draw(Sequence* sequence, v1::LeaderEvent* event) {
  const v1::Submit& submit = sequence->submit;
  if (sequence->error.code != Code::kOk) {
    event->set_finish(4);
    event->set_error_code(static_cast<int32_t>(sequence->error.code));
    event->set_error_message(sequence->error.message);
    return true;
  }
  if (sequence->num_drawn == 0 && submit.num_prompt_logprobs() != -1 && submit.prompt_size() > 1) {
    event->set_prompt_begin(1);
    for (int i = 1; i < submit.prompt_size(); ++i)
      fill_choice(submit.prompt(i), submit.num_prompt_logprobs(), event->add_prompt_scores());
  }
  const int32_t id = submit.prompt(sequence->num_drawn % submit.prompt_size());
  ++sequence->num_drawn;
  fill_choice(id, submit.num_logprobs(), event->add_tokens());
  const auto& stops = submit.stop_ids();
  const bool stops_here = std::find(stops.begin(), stops.end(), id) != stops.end();
  if (stops_here && sequence->num_drawn > submit.min_tokens()) {
    event->set_finish(1);
    event->set_stop_id(id);
  } else if (sequence->num_drawn >= submit.max_tokens()) {
    event->set_finish(2);
  }
  return event->finish() != 0;
}

}  // namespace mimo::coordinator
