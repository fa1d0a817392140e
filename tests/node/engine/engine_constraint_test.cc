#include <gtest/gtest.h>

#include "tests/node/engine/engine_world.h"
#include "tests/node/engine/fake_rank.h"

namespace mimo::node {
namespace {

// How many steps the executor takes at once.
class EngineConstraints : public ::testing::TestWithParam<int32_t> {};
INSTANTIATE_TEST_SUITE_P(StepsOut, EngineConstraints, ::testing::Values(1, 2));

TEST_P(EngineConstraints, ARulesErrorEndsItsOwnSequenceAlone) {
  auto options = small_options();
  options.constraints = true;
  FakeRank rank({.engine = options, .steps_in_flight_max = GetParam()});
  Listener listener;
  const SystemClock clock;
  auto engine = Engine::create(options, listener.hooks(), rank, clock).value();
  SequenceRequest failing = small_request(2);
  failing.constraint = {.kind = grammar::Spec::Kind::kRegex, .text = "4"};
  failing.sampling.stop_ids = {options.vocab - 1};
  SequenceRequest passing = small_request(3);
  passing.constraint = {.kind = grammar::Spec::Kind::kRegex, .text = "1000"};
  passing.sampling.stop_ids = failing.sampling.stop_ids;

  ASSERT_TRUE(engine->submit(small_request(1)).ok());
  ASSERT_TRUE(engine->submit(failing).ok());
  ASSERT_TRUE(engine->submit(passing).ok());

  ASSERT_TRUE(
      listener.wait([](const Listener& l) { return l.num_ended == 3 && l.last.num_running == 0; }));
  engine->stop();
  const Stream& failed = listener.streams[SequenceId{2}];
  EXPECT_EQ(failed.tokens.size(), 4u);
  EXPECT_EQ(failed.finish, FinishReason::kError);
  EXPECT_EQ(failed.error.code, Code::kInternal);
  EXPECT_EQ(failed.error.message, "constraint: no way on");
  EXPECT_EQ(listener.streams[SequenceId{1}].tokens,
            lone_run(small_request(1), options, false).tokens);
  EXPECT_EQ(listener.streams[SequenceId{3}].tokens, lone_run(passing, options, false).tokens);
  EXPECT_EQ(listener.num_failures, 0);
  EXPECT_EQ(listener.last.pages[0].free, options.full_pages);
}

TEST_P(EngineConstraints, WhatIsAnnouncedStandsInTheNextPlanMadeOnce) {
  const auto options = small_options();
  FakeRank rank({.engine = options, .steps_in_flight_max = GetParam()});
  std::vector<std::vector<grammar::Spec>> announced;  // by step
  GatedExecutor gated(rank, [&](const StepPlan& plan) -> Result<void> {
    announced.push_back(plan.announced);
    return {};
  });
  Listener listener;
  const SystemClock clock;
  auto engine = Engine::create(options, listener.hooks(), gated, clock).value();

  for (int32_t i = 0; i < 40; ++i) {
    engine->announce({.kind = grammar::Spec::Kind::kRegex, .text = std::to_string(i)});
  }
  ASSERT_TRUE(engine->submit(small_request(1)).ok());
  ASSERT_TRUE(listener.wait_ended(1));
  engine->stop();

  ASSERT_EQ(announced[0].size(), 16u);  // more are not told
  EXPECT_EQ(announced[0][15].text, "15");
  for (size_t step = 1; step < announced.size(); ++step) EXPECT_TRUE(announced[step].empty());
}

}  // namespace
}  // namespace mimo::node
