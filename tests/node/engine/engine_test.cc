#include "node/engine/engine.h"

#include <gtest/gtest.h>

#include <future>
#include <random>
#include <string>
#include <thread>

#include "tests/node/engine/engine_world.h"
#include "tests/node/engine/fake_rank.h"

namespace mimo::node {
namespace {

const SystemClock kClock;

std::unique_ptr<Engine> start(const Engine::Options& options, Listener& listener,
                              StepExecutor& executor) {
  return Engine::create(options, listener.hooks(), executor, kClock).value();
}

// Lets the engine take steps one by one; open() lets all pass from there on.
class Turnstile {
 public:
  GatedExecutor::Before before() {
    return [this](const StepPlan&) -> Result<void> {
      std::unique_lock lock(mutex_);
      ++num_arrived_;
      changed_.notify_all();
      const bool passed = changed_.wait_for(lock, std::chrono::minutes(1),
                                            [&] { return num_arrived_ <= num_allowed_; });
      if (passed) return {};
      return unavailable("nobody let the step pass");
    };
  }
  void wait_arrived(int64_t step) {
    std::unique_lock lock(mutex_);
    ASSERT_TRUE(
        changed_.wait_for(lock, std::chrono::minutes(1), [&] { return num_arrived_ > step; }));
  }
  void allow(int64_t num_steps) {
    std::lock_guard lock(mutex_);
    num_allowed_ += num_steps;
    changed_.notify_all();
  }
  void open() { allow(1 << 30); }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int64_t num_arrived_ = 0;
  int64_t num_allowed_ = 0;
};

// How many steps the executor takes at once.
class EngineAtDepth : public ::testing::TestWithParam<int32_t> {
 protected:
  static int32_t depth() { return GetParam(); }
  static FakeRank::Options rank_options(const Engine::Options& options) {
    return {.engine = options, .steps_in_flight_max = GetParam()};
  }
};

INSTANTIATE_TEST_SUITE_P(StepsOut, EngineAtDepth, ::testing::Values(1, 2));

TEST_P(EngineAtDepth, AStreamIsItsLoneRunAndAllPagesComeBack) {
  const auto options = small_options();
  FakeRank rank(rank_options(options));
  Listener listener;
  auto engine = start(options, listener, rank);

  ASSERT_TRUE(engine->submit(small_request(7)).ok());

  // The slot is told to all ranks as free by a step of its own.
  ASSERT_TRUE(listener.wait([](const Listener& l) {
    return l.num_ended == 1 && l.last.num_running == 0 && l.last.step == 21 - 1;
  }));
  engine->stop();
  const auto lone = lone_run(small_request(7), options, false);
  EXPECT_EQ(listener.streams[SequenceId{7}].tokens, lone.tokens);
  EXPECT_EQ(listener.streams[SequenceId{7}].finish, FinishReason::kLength);
  EXPECT_EQ(listener.last.pages[0].free, options.full_pages);
  EXPECT_EQ(listener.last.pages[1].free, options.window_pages);
  EXPECT_EQ(rank.num_active(), 0);
}

TEST_P(EngineAtDepth, AbortedPagesAreFreeInTheNextStep) {
  const auto options = small_options();
  FakeRank rank(rank_options(options));
  Turnstile turnstile;
  GatedExecutor gated(rank, turnstile.before());
  Listener listener;
  auto engine = start(options, listener, gated);
  ASSERT_TRUE(engine->submit(small_request(1)).ok());
  turnstile.allow(3);
  turnstile.wait_arrived(3);

  engine->abort(SequenceId{1});
  engine->abort(SequenceId{99});
  turnstile.open();

  ASSERT_TRUE(listener.wait([](const Listener& l) { return l.last.step == 4; }));
  engine->stop();
  EXPECT_EQ(listener.streams[SequenceId{1}].finish, FinishReason::kCancelled);
  // With two out, the engine hears of the abort before it hears of step 3.
  EXPECT_EQ(listener.streams[SequenceId{1}].tokens.size(), depth() == 1 ? 4u : 3u);
  EXPECT_EQ(listener.last.pages[0].free, options.full_pages);
  EXPECT_EQ(rank.num_active(), 0);
}

TEST_P(EngineAtDepth, RefusesWhenAsManyWaitAsMay) {
  auto options = small_options();
  options.sequences_max = 1;
  options.waiting_max = 2;
  FakeRank rank(rank_options(options));
  Turnstile turnstile;
  GatedExecutor gated(rank, turnstile.before());
  Listener listener;
  auto engine = start(options, listener, gated);
  ASSERT_TRUE(engine->submit(small_request(1)).ok());
  turnstile.wait_arrived(0);
  ASSERT_TRUE(engine->submit(small_request(2)).ok());
  ASSERT_TRUE(engine->submit(small_request(3)).ok());

  EXPECT_EQ(engine->submit(small_request(4)).error().code, Code::kResourceExhausted);
  EXPECT_EQ(engine->submit(small_request(2)).error().message, "id is 2, which is in use");

  turnstile.open();
  ASSERT_TRUE(listener.wait_ended(3));
  EXPECT_TRUE(engine->submit(small_request(4)).ok());
  ASSERT_TRUE(listener.wait_ended(4));
}

TEST_P(EngineAtDepth, StopEndsEverySequenceAndRefusesMore) {
  const auto options = small_options();
  FakeRank rank(rank_options(options));
  Turnstile turnstile;
  GatedExecutor gated(rank, turnstile.before());
  Listener listener;
  auto engine = start(options, listener, gated);
  for (int64_t id = 0; id < 10; ++id) ASSERT_TRUE(engine->submit(small_request(id)).ok());
  turnstile.wait_arrived(0);

  auto stopping = std::async(std::launch::async, [&] { engine->stop(); });
  while (engine->submit(small_request(1)).error().code != Code::kUnavailable) {
    std::this_thread::yield();
  }
  turnstile.open();
  stopping.get();
  engine->stop();

  EXPECT_EQ(listener.num_ended, 10);
  for (const auto& [id, stream] : listener.streams) {
    EXPECT_EQ(stream.finish, FinishReason::kError);
    EXPECT_EQ(stream.error.code, Code::kUnavailable);
  }
  EXPECT_FALSE(listener.failure.has_value());
  EXPECT_EQ(rank.num_steps_out(), 0);
}

TEST_P(EngineAtDepth, AFailingExecutorEndsEverySequenceOnce) {
  const auto options = small_options();
  FakeRank rank(rank_options(options));
  GatedExecutor failing(rank, [](const StepPlan& plan) -> Result<void> {
    if (plan.step < 5) return {};
    return internal_error("rank 3 is gone");
  });
  Listener listener;
  auto engine = start(options, listener, failing);
  for (int64_t id = 0; id < 10; ++id) {
    const auto submitted = engine->submit(small_request(id));
    if (!submitted.ok()) break;  // it may have failed already
  }

  ASSERT_TRUE(listener.wait([](const Listener& l) { return l.failure.has_value(); }));

  EXPECT_EQ(listener.failure->message, "rank 3 is gone");
  const auto refused = engine->submit(small_request(50));
  EXPECT_EQ(refused.error().code, Code::kUnavailable);
  engine->abort(SequenceId{1});
  engine->stop();
  EXPECT_EQ(listener.num_failures, 1);
  EXPECT_EQ(listener.num_ended, static_cast<int64_t>(listener.streams.size()));
  for (const auto& [id, stream] : listener.streams) {
    EXPECT_EQ(stream.finish, FinishReason::kError);
    EXPECT_EQ(stream.error.code, Code::kUnavailable);
  }
}

TEST_P(EngineAtDepth, AStepLostWhileOthersAreOutEndsEverySequenceOnce) {
  const auto options = small_options();
  class Losing final : public StepExecutor {
   public:
    explicit Losing(FakeRank& inner) : inner_(inner) {}
    int32_t steps_in_flight_max() const override { return inner_.steps_in_flight_max(); }
    Result<void> start(const StepPlan& plan) override { return inner_.start(plan); }
    Result<StepResult> finish() override {
      auto result = inner_.finish();
      if (result.value().step == 4) return unavailable("rank 3 is gone");
      return result;
    }

   private:
    FakeRank& inner_;
  };
  FakeRank rank(rank_options(options));
  Losing losing(rank);
  Listener listener;
  auto engine = start(options, listener, losing);
  SequenceRequest ends_in_flight = small_request(1);
  ends_in_flight.max_tokens = 4 + depth();
  ASSERT_TRUE(engine->submit(ends_in_flight).ok());
  (void)engine->submit(small_request(2));  // it may have failed already

  ASSERT_TRUE(listener.wait([](const Listener& l) { return l.failure.has_value(); }));

  engine->stop();
  EXPECT_EQ(listener.num_failures, 1);
  EXPECT_EQ(listener.num_ended, static_cast<int64_t>(listener.streams.size()));
  EXPECT_EQ(listener.streams[SequenceId{1}].tokens.size(), 4u);
  EXPECT_EQ(listener.streams[SequenceId{1}].finish, FinishReason::kError);
}

TEST_P(EngineAtDepth, AResultThatDoesNotFitThePlanIsAFailure) {
  const auto options = small_options();
  class Liar final : public StepExecutor {
    int32_t steps_in_flight_max() const override { return depth(); }
    Result<void> start(const StepPlan&) override { return {}; }
    Result<StepResult> finish() override { return StepResult{.step = 0}; }
  } liar;
  Listener listener;
  auto engine = start(options, listener, liar);
  ASSERT_TRUE(engine->submit(small_request(1)).ok());

  ASSERT_TRUE(listener.wait([](const Listener& l) { return l.failure.has_value(); }));

  EXPECT_NE(listener.failure->message.find("drew no token"), std::string::npos);
  EXPECT_EQ(listener.streams[SequenceId{1}].error.code, Code::kUnavailable);
}

TEST_P(EngineAtDepth, AHookMaySubmitAndAbort) {
  const auto options = small_options();
  FakeRank rank(rank_options(options));
  Listener listener;
  std::promise<Engine*> engine_promise;
  auto engine_future = engine_promise.get_future().share();
  Engine::Hooks hooks = listener.hooks();
  hooks.on_events = [&, tell = hooks.on_events](std::vector<SequenceEvent> events) {
    if (events[0].id == SequenceId{1} && events[0].finish != FinishReason::kNone) {
      EXPECT_TRUE(engine_future.get()->submit(small_request(2)).ok());
      engine_future.get()->abort(SequenceId{2});
    }
    tell(std::move(events));
  };
  auto engine = Engine::create(options, hooks, rank, kClock).value();
  engine_promise.set_value(engine.get());

  ASSERT_TRUE(engine->submit(small_request(1)).ok());

  ASSERT_TRUE(listener.wait_ended(2));
  engine->stop();
  EXPECT_EQ(listener.streams[SequenceId{2}].finish, FinishReason::kCancelled);
}

// Writes down what the engine asks of it.
class LoggingExecutor final : public StepExecutor {
 public:
  explicit LoggingExecutor(FakeRank& inner) : inner_(inner) {}
  int32_t steps_in_flight_max() const override { return inner_.steps_in_flight_max(); }
  Result<void> start(const StepPlan& plan) override {
    log_ += " +" + std::to_string(plan.step);
    return inner_.start(plan);
  }
  Result<StepResult> finish() override {
    auto result = inner_.finish();
    log_ += " -" + std::to_string(result.value().step);
    return result;
  }
  const std::string& log() const { return log_; }  // when the engine has stopped

 private:
  FakeRank& inner_;
  std::string log_;
};

TEST_P(EngineAtDepth, PlansAsFarAheadAsTheExecutorTakes) {
  const auto options = small_options();
  FakeRank rank(rank_options(options));
  LoggingExecutor executor(rank);
  Listener listener;
  auto engine = start(options, listener, executor);
  SequenceRequest request = small_request(1);
  request.max_tokens = 3;

  ASSERT_TRUE(engine->submit(request).ok());

  ASSERT_TRUE(listener.wait([](const Listener& l) { return l.last.step == 3; }));
  engine->stop();
  // The last one releases the slot and reads nothing.
  EXPECT_EQ(executor.log(), depth() == 1 ? " +0 -0 +1 -1 +2 -2 +3 -3" : " +0 +1 -0 +2 -1 +3 -2 -3");
}

// Callers on several threads submit and abort while the pools are too small for all.
TEST_P(EngineAtDepth, ManyThreadsSubmitAndAbort) {
  constexpr int32_t kThreads = 4, kEach = 40;
  auto options = small_options();
  options.waiting_max = kThreads * kEach;
  FakeRank rank(rank_options(options));
  Listener listener;
  auto engine = start(options, listener, rank);
  std::vector<std::thread> callers;
  for (int32_t t = 0; t < kThreads; ++t) {
    callers.emplace_back([&, t] {
      std::mt19937_64 random(t);
      for (int32_t i = 0; i < kEach; ++i) {
        SequenceRequest request = small_request(t * kEach + i);
        request.max_tokens = 1 + static_cast<int32_t>(random() % 150);
        EXPECT_TRUE(engine->submit(request).ok());
        if (random() % 4 == 0) engine->abort(SequenceId{t * kEach + i});
        engine->abort(SequenceId{static_cast<int64_t>(random() % 8) * 1000 + 500});
      }
    });
  }
  for (std::thread& caller : callers) caller.join();

  ASSERT_TRUE(listener.wait_ended(kThreads * kEach));
  ASSERT_TRUE(listener.wait([&](const Listener& l) {
    return l.last.pages[0].free == options.full_pages &&
           l.last.pages[1].free == options.window_pages;
  }));
  engine->stop();
  EXPECT_TRUE(listener.in_order);
  for (const auto& [id, stream] : listener.streams) {
    SequenceRequest request = small_request(id.value);
    request.max_tokens = 200;
    const auto lone = lone_run(request, options, false).tokens;
    ASSERT_LE(stream.tokens.size(), lone.size());
    EXPECT_TRUE(std::equal(stream.tokens.begin(), stream.tokens.end(), lone.begin()));
    EXPECT_NE(stream.finish, FinishReason::kError) << stream.error.message;
  }
}

TEST_P(EngineAtDepth, CanBeStoppedWhileCallersSubmit) {
  const auto options = small_options();
  FakeRank rank(rank_options(options));
  Listener listener;
  auto engine = start(options, listener, rank);
  std::atomic<int64_t> num_taken = 0;
  std::vector<std::thread> callers;
  for (int64_t t = 0; t < 3; ++t) {
    callers.emplace_back([&, t] {
      for (int64_t i = 0;; ++i) {
        const auto submitted = engine->submit(small_request(t * 1'000'000 + i));
        if (submitted.ok()) {
          ++num_taken;
        } else if (submitted.error().code == Code::kUnavailable) {
          return;
        } else {
          std::this_thread::yield();
        }
      }
    });
  }
  ASSERT_TRUE(listener.wait_ended(20));

  engine->stop();

  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(listener.num_ended, num_taken.load());
}

}  // namespace
}  // namespace mimo::node
