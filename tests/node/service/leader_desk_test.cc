#include "node/service/leader_desk.h"

#include <gtest/gtest.h>

#include "tests/node/engine/engine_world.h"
#include "tests/node/engine/fake_rank.h"
#include "tests/node/engine/gated_rules.h"

namespace mimo::node {
namespace {

const SystemClock kClock;
constexpr Epoch kEpoch{7};

// Gathers what a stream is told.
class StreamRecord final : public LeaderStreamEnd {
 public:
  bool send(const std::vector<SequenceEvent>& events, int64_t /*step*/) override {
    std::lock_guard lock(mutex_);
    for (const SequenceEvent& event : events) {
      EXPECT_TRUE(streams_[event.id].add(event)) << event.id.value;
    }
    changed_.notify_all();
    return true;
  }
  void end(const Error& reason) override {
    std::lock_guard lock(mutex_);
    ended_ = reason;
    changed_.notify_all();
  }

  Stream wait_end_of(int64_t id) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, std::chrono::minutes(1), [&] {
      return streams_[SequenceId{id}].finish != FinishReason::kNone;
    }));
    return streams_[SequenceId{id}];
  }
  bool heard_of(int64_t id) {
    std::lock_guard lock(mutex_);
    return streams_.count(SequenceId{id}) != 0;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<SequenceId, Stream> streams_;
  std::optional<Error> ended_;
};

// An engine on a made-up rank behind a desk with a stream, and compilations that wait for the test.
class LeaderDeskTest : public ::testing::Test {
 protected:
  LeaderDeskTest() : options_(options()), rank_({.engine = options_}) {
    Engine::Hooks hooks;
    hooks.on_events = [this](std::vector<SequenceEvent> events) {
      desk_.on_events(std::move(events));
    };
    engine_ = Engine::create(options_, std::move(hooks), rank_, kClock).value();
    desk_.offer(kEpoch, *engine_, rules_);
    EXPECT_TRUE(desk_.open(kEpoch, stream_).ok());
  }
  ~LeaderDeskTest() override {
    rules_->allow(1000);
    desk_.withdraw(kEpoch, unavailable("the test ends"));
    engine_->stop();
  }
  static Engine::Options options() {
    Engine::Options options = small_options();
    options.constraints = true;
    return options;
  }
  // Its rules, as the made-up rank has them, never fail.
  static SequenceRequest bound_request(int64_t id, const std::string& text = "1000") {
    SequenceRequest request = small_request(id);
    request.sampling.stop_ids = {options().vocab - 1};
    request.constraint = {.kind = grammar::Spec::Kind::kRegex, .text = text};
    return request;
  }
  Result<void> submit(SequenceRequest request) {
    return desk_.submit(stream_.get(), std::move(request));
  }

  const Engine::Options options_;
  FakeRank rank_;
  const std::shared_ptr<GatedRules> rules_ = std::make_shared<GatedRules>();
  const std::shared_ptr<StreamRecord> stream_ = std::make_shared<StreamRecord>();
  LeaderDesk desk_;
  std::unique_ptr<Engine> engine_;
};

TEST_F(LeaderDeskTest, ASequenceWaitsForItsConstraintAndNobodyElseDoes) {
  ASSERT_TRUE(submit(bound_request(1)).ok());
  ASSERT_TRUE(rules_->wait_arrived(1));

  ASSERT_TRUE(submit(small_request(2)).ok());
  const Stream other = stream_->wait_end_of(2);

  EXPECT_EQ(other.finish, FinishReason::kLength);
  EXPECT_FALSE(stream_->heard_of(1));
  rules_->allow(1);
  const Stream bound = stream_->wait_end_of(1);
  EXPECT_EQ(bound.tokens, lone_run(bound_request(1), options_, false).tokens);
}

TEST_F(LeaderDeskTest, AConstraintThatDoesNotCompileEndsTheSequenceAsABadRequest) {
  ASSERT_TRUE(submit(bound_request(1, "broken")).ok());
  rules_->allow(1);

  const Stream stream = stream_->wait_end_of(1);

  EXPECT_EQ(stream.finish, FinishReason::kError);
  EXPECT_EQ(stream.error.code, Code::kInvalidArgument);
  EXPECT_EQ(stream.error.message, "constraint: at 3: no such rule");
  EXPECT_TRUE(stream.tokens.empty());
}

TEST_F(LeaderDeskTest, WhatTheEngineRefusesAfterTheCheckIsTold) {
  SequenceRequest request = bound_request(1);
  request.sampling.min_tokens = 2;
  ASSERT_TRUE(submit(request).ok());
  rules_->allow(1);

  const Stream stream = stream_->wait_end_of(1);

  EXPECT_EQ(stream.error.code, Code::kInvalidArgument);
  EXPECT_NE(stream.error.message.find("min_tokens is 2"), std::string::npos);
}

TEST_F(LeaderDeskTest, AnAbortWhileItCompilesEndsItAtOnce) {
  ASSERT_TRUE(submit(bound_request(1)).ok());
  ASSERT_TRUE(rules_->wait_arrived(1));

  desk_.abort(stream_.get(), SequenceId{1});

  EXPECT_EQ(stream_->wait_end_of(1).finish, FinishReason::kCancelled);
  rules_->allow(1);
  ASSERT_TRUE(submit(bound_request(2)).ok());
  rules_->allow(1);
  stream_->wait_end_of(2);  // nothing more came of the first one: its stream would not take it
}

TEST_F(LeaderDeskTest, AnIdThatIsBeingCheckedIsInUse) {
  ASSERT_TRUE(submit(bound_request(1)).ok());

  const auto again = submit(bound_request(1));

  ASSERT_FALSE(again.ok());
  EXPECT_EQ(again.error().code, Code::kInvalidArgument);
  EXPECT_EQ(again.error().message, "id is 1, which is in use");
}

TEST_F(LeaderDeskTest, AnEpochThatEndsWhileItCompilesLeavesNothingBehind) {
  ASSERT_TRUE(submit(bound_request(1)).ok());
  ASSERT_TRUE(rules_->wait_arrived(1));
  desk_.withdraw(kEpoch, unavailable("a rank is lost"));
  const auto next = std::make_shared<StreamRecord>();
  desk_.offer(Epoch{8}, *engine_, rules_);
  ASSERT_TRUE(desk_.open(Epoch{8}, next).ok());

  rules_->allow(1);
  ASSERT_TRUE(desk_.submit(next.get(), bound_request(2)).ok());
  rules_->allow(1);

  next->wait_end_of(2);
  EXPECT_FALSE(next->heard_of(1));
  EXPECT_FALSE(stream_->heard_of(1));
  desk_.withdraw(Epoch{8}, unavailable("the test ends"));
}

TEST_F(LeaderDeskTest, WithoutATokenizerAConstraintIsRefused) {
  desk_.withdraw(kEpoch, unavailable("a change"));
  Engine::Hooks hooks;
  hooks.on_events = [](const std::vector<SequenceEvent>&) {};
  FakeRank rank({.engine = small_options()});
  const auto engine = Engine::create(small_options(), std::move(hooks), rank, kClock).value();
  desk_.offer(Epoch{8}, *engine);
  ASSERT_TRUE(desk_.open(Epoch{8}, stream_).ok());

  EXPECT_EQ(submit(bound_request(1)).error().code, Code::kUnimplemented);
  desk_.withdraw(Epoch{8}, unavailable("the test ends"));
}

}  // namespace
}  // namespace mimo::node
