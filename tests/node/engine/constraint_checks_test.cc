#include "node/engine/constraint_checks.h"

#include <gtest/gtest.h>

#include <map>
#include <thread>

#include "tests/node/engine/gated_rules.h"

namespace mimo::node {
namespace {

grammar::Spec spec(std::string text) {
  return {.kind = grammar::Spec::Kind::kRegex, .text = std::move(text)};
}

// What came of the checks, by number.
class Answers {
 public:
  ConstraintChecks::Done of(int32_t number) {
    return [this, number](const Result<void>& checked) {
      std::lock_guard lock(mutex_);
      codes_[number].push_back(checked.ok() ? Code::kOk : checked.error().code);
      on_caller_ = on_caller_ || std::this_thread::get_id() == caller_;
      changed_.notify_all();
    };
  }
  // Every check's one answer, when there are so many.
  std::map<int32_t, std::vector<Code>> wait(size_t count) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(
        changed_.wait_for(lock, std::chrono::minutes(1), [&] { return codes_.size() >= count; }));
    EXPECT_FALSE(on_caller_);
    return codes_;
  }

 private:
  const std::thread::id caller_ = std::this_thread::get_id();
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<int32_t, std::vector<Code>> codes_;
  bool on_caller_ = false;
};

TEST(ConstraintChecks, EveryCheckIsAnsweredOnceOnAnotherThread) {
  const auto rules = std::make_shared<GatedRules>();
  Answers answers;
  ConstraintChecks checks({.threads_max = 3, .waiting_max = 100});
  for (int32_t i = 0; i < 100; ++i) {
    ASSERT_TRUE(checks.start(rules, spec(i % 2 == 0 ? "fine" : "broken"), answers.of(i)).ok());
  }

  rules->allow(100);

  const auto codes = answers.wait(100);
  for (const auto& [number, said] : codes) {
    EXPECT_EQ(said, std::vector<Code>{number % 2 == 0 ? Code::kOk : Code::kInvalidArgument});
  }
}

TEST(ConstraintChecks, AsManyAreUnderWayAsThereAreThreadsAndMoreThanMayWaitAreRefused) {
  const auto rules = std::make_shared<GatedRules>();
  Answers answers;
  ConstraintChecks checks({.threads_max = 2, .waiting_max = 3});
  for (int32_t i = 0; i < 2; ++i) {
    ASSERT_TRUE(checks.start(rules, spec("fine"), answers.of(i)).ok());
    ASSERT_TRUE(rules->wait_arrived(i + 1));
  }
  for (int32_t i = 2; i < 5; ++i) {
    ASSERT_TRUE(checks.start(rules, spec("fine"), answers.of(i)).ok());
  }

  const auto refused = checks.start(rules, spec("fine"), answers.of(99));

  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Code::kResourceExhausted);
  EXPECT_EQ(refused.error().message, "3 constraints wait to be compiled");
  EXPECT_EQ(rules->num_arrived(), 2);
  rules->allow(5);
  EXPECT_EQ(answers.wait(5).count(99), 0u);
}

TEST(ConstraintChecks, ItsEndWaitsForThoseUnderWayAndDropsTheOthers) {
  const auto rules = std::make_shared<GatedRules>();
  Answers answers;
  auto checks = std::make_unique<ConstraintChecks>(
      ConstraintChecks::Options{.threads_max = 1, .waiting_max = 10});
  for (int32_t i = 0; i < 4; ++i) {
    ASSERT_TRUE(checks->start(rules, spec("fine"), answers.of(i)).ok());
  }
  ASSERT_TRUE(rules->wait_arrived(1));

  std::thread end([&] { checks.reset(); });
  // The others' shares of the rules go with them: this one's and the check's are left.
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  while (rules.use_count() > 2 && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::yield();
  }
  rules->allow(1);
  end.join();

  EXPECT_EQ(answers.wait(1).size(), 1u);
  EXPECT_EQ(rules.use_count(), 1);
}

}  // namespace
}  // namespace mimo::node
