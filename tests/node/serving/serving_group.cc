#include "serving_group.h"

#include <gtest/gtest.h>

#include <chrono>

namespace mimo::node {
namespace {

constexpr auto kPatience = std::chrono::seconds(300);

}  // namespace

ServingGroup::ServingGroup(const std::string& folder, const ClusterOptions& options,
                           int32_t batch_tokens, int32_t chunk)
    : cluster_(Cluster::create(folder, options).value()),
      channel_(parallel::make_local_plan_channel(options.tp - 1)) {
  for (int32_t i = 1; i < options.tp; ++i) {
    followers_.emplace_back([this, i] {
      const auto ended = follow(cluster_->epoch(), *channel_.followers[static_cast<size_t>(i - 1)],
                                cluster_->rank(i), [this] { return stopping_.load(); });
      if (!stopping_) {
        EXPECT_TRUE(ended.ok()) << ended.error().to_string();
      }
    });
  }
  executor_ = std::make_unique<GroupExecutor>(GroupExecutor::Options{.report_timeout_ms = 60'000},
                                              cluster_->rank(0),
                                              options.tp > 1 ? channel_.leader.get() : nullptr);
  Engine::Options engine;
  engine.epoch = cluster_->epoch();
  engine.sequences_max = options.limits.sequences_max;
  engine.waiting_max = 1024;
  engine.batch_tokens_max = batch_tokens;
  engine.prefill_chunk_max = chunk;
  engine.positions_max = options.limits.positions_max;
  engine.vocab = cluster_->config().vocab;
  engine.full = cluster_->specs()[0];
  engine.window = cluster_->specs()[1];
  engine.full_pages = options.num_pages[0];
  engine.window_pages = options.num_pages[1];
  Engine::Hooks hooks;
  hooks.on_events = [this](std::vector<SequenceEvent> events) { take(std::move(events)); };
  hooks.on_step = [this](const EngineStats& stats) {
    std::lock_guard lock(mutex_);
    stats_ = stats;
    changed_.notify_all();
  };
  hooks.on_failure = [](const Error& error) { ADD_FAILURE() << error.to_string(); };
  engine_ = Engine::create(engine, std::move(hooks), *executor_, clock_).value();
}

ServingGroup::~ServingGroup() {
  engine_->stop();
  stopping_ = true;
  for (std::thread& follower : followers_) follower.join();
}

Result<void> ServingGroup::submit(SequenceRequest request) {
  {
    std::lock_guard lock(mutex_);
    streams_[request.id.value] = {};
  }
  return engine_->submit(std::move(request));
}

void ServingGroup::take(std::vector<SequenceEvent> events) {
  std::lock_guard lock(mutex_);
  for (const SequenceEvent& event : events) {
    Stream& stream = streams_[event.id.value];
    EXPECT_EQ(stream.finish, FinishReason::kNone) << "an event after the end";
    for (const kernels::TokenChoice& token : event.tokens) stream.ids.push_back(token.id);
    stream.finish = event.finish;
    stream.error = event.error;
  }
  changed_.notify_all();
}

Stream ServingGroup::wait(int64_t id) {
  std::unique_lock lock(mutex_);
  const bool ended = changed_.wait_for(lock, kPatience,
                                       [&] { return streams_[id].finish != FinishReason::kNone; });
  EXPECT_TRUE(ended) << "sequence " << id << " has not ended";
  Stream stream = std::move(streams_[id]);
  streams_.erase(id);
  return stream;
}

void ServingGroup::wait_for_tokens(int64_t id, size_t count) {
  std::unique_lock lock(mutex_);
  const bool came = changed_.wait_for(lock, kPatience, [&] {
    const auto stream = streams_.find(id);
    return stream == streams_.end() || stream->second.ids.size() >= count ||
           stream->second.finish != FinishReason::kNone;
  });
  EXPECT_TRUE(came) << "sequence " << id << " stands still";
}

bool ServingGroup::idle_locked() const {
  return stats_.num_running == 0 && stats_.num_waiting == 0 &&
         stats_.pages[0].free == stats_.pages[0].total &&
         stats_.pages[1].free == stats_.pages[1].total;
}

EngineStats ServingGroup::wait_idle() {
  std::unique_lock lock(mutex_);
  EXPECT_TRUE(changed_.wait_for(lock, kPatience, [&] { return idle_locked(); }))
      << stats_.pages[0].free << " of " << stats_.pages[0].total << " full and "
      << stats_.pages[1].free << " of " << stats_.pages[1].total << " window pages are free";
  return stats_;
}

int64_t ServingGroup::num_preemptions() {
  std::lock_guard lock(mutex_);
  return stats_.num_preemptions;
}

}  // namespace mimo::node
