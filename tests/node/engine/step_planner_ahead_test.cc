// Plans that are made while a step is out, and what comes of them.

#include <gtest/gtest.h>

#include "node/engine/step_planner.h"
#include "tests/node/engine/engine_world.h"

namespace mimo::node {
namespace {

using Events = std::vector<SequenceEvent>;
using Slots = std::vector<SlotId>;

// Step 0 reads the prompt of sequence 1 and draws; step 1 is planned before that is known.
struct Ahead {
  explicit Ahead(SequenceRequest request = small_request(1),
                 const Engine::Options& options = small_options())
      : planner(options) {
    planner.add(std::move(request));
    first = planner.plan();
    second = planner.plan();
  }
  Events accept(const StepResult& result) {
    Events events;
    planner.accept(result, events).value();
    return events;
  }
  Events abort(int64_t id) {
    Events events;
    planner.abort(SequenceId{id}, events);
    return events;
  }
  int32_t num_free(kvcache::KvKind kind) const {
    EngineStats stats;
    planner.fill_stats(stats);
    return stats.pages[static_cast<size_t>(kind)].free;
  }

  StepPlanner planner;
  StepPlan first, second;
};

SequenceRequest stopping_at_9() {
  SequenceRequest request = small_request(1);
  request.sampling.stop_ids = {9};
  return request;
}

TEST(StepPlannerAhead, TheRowThatReadsAnUnknownTokenIsPlanned) {
  Ahead ahead;

  EXPECT_TRUE(ahead.second.empty_of_changes());
  EXPECT_EQ(ahead.planner.num_steps_out(), 2);
  EXPECT_EQ(ahead.accept(draws(0, 0, 5))[0].tokens[0].id, 5);
  EXPECT_EQ(ahead.accept(draws(1, 0, 6))[0].tokens[0].id, 6);
}

TEST(StepPlannerAhead, PagesAreGrantedForTokensNotYetKnown) {
  SequenceRequest request = small_request(1);
  request.prompt.assign(16, 7);
  Ahead ahead(request);

  EXPECT_EQ(ahead.first.grants.size(), 2u);
  EXPECT_EQ(ahead.second.grants.size(), 2u);
}

TEST(StepPlannerAhead, AfterAStopTheRowInFlightIsDroppedAndTheSlotGoesInTheNextPlan) {
  Ahead ahead(stopping_at_9());

  const Events events = ahead.accept(draws(0, 0, 9));

  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].finish, FinishReason::kStop);
  EXPECT_EQ(ahead.planner.plan().releases, (Slots{SlotId{0}}));
  EXPECT_TRUE(ahead.accept(draws(1, 0, 5)).empty());
  EXPECT_FALSE(ahead.planner.can_plan());
  EXPECT_TRUE(ahead.planner.has_work());
  EXPECT_TRUE(ahead.accept(StepResult{.step = 2}).empty());
  EXPECT_FALSE(ahead.planner.has_work());
}

// What a slot drew goes to whom it was when the step was planned.
TEST(StepPlannerAhead, ASlotsNextOwnerGetsNothingOfTheLastOnes) {
  Ahead ahead(stopping_at_9());
  ahead.accept(draws(0, 0, 9));
  ahead.planner.add(small_request(2));

  const StepPlan third = ahead.planner.plan();

  EXPECT_EQ(third.releases, (Slots{SlotId{0}}));
  ASSERT_EQ(third.admissions.size(), 1u);
  EXPECT_EQ(third.admissions[0].slot, SlotId{0});
  EXPECT_TRUE(ahead.accept(draws(1, 0, 5)).empty());
  const Events events = ahead.accept(draws(2, 0, 6));
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].id, SequenceId{2});
}

TEST(StepPlannerAhead, ASequenceWhoseLastDrawIsOutGivesItsSlotBackAtOnce) {
  SequenceRequest request = small_request(1);
  request.max_tokens = 1;
  Ahead ahead(request);

  EXPECT_EQ(ahead.second.releases, (Slots{SlotId{0}}));
  EXPECT_EQ(ahead.num_free(kvcache::KvKind::kFull), small_options().full_pages);
  EXPECT_FALSE(ahead.planner.can_plan());
  const Events events = ahead.accept(draws(0, 0, 5));
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].finish, FinishReason::kLength);
  EXPECT_TRUE(ahead.accept(StepResult{.step = 1}).empty());
  EXPECT_FALSE(ahead.planner.has_work());
}

TEST(StepPlannerAhead, TheLastPositionIsDrawnAndNotRead) {
  Engine::Options options = small_options();
  options.positions_max = 4;
  Ahead ahead(small_request(1), options);

  EXPECT_EQ(ahead.second.releases, (Slots{SlotId{0}}));
  EXPECT_EQ(ahead.accept(draws(0, 0, 5))[0].finish, FinishReason::kLength);
}

TEST(StepPlannerAhead, AnAbortTakesEffectWhileStepsAreOut) {
  Ahead ahead;

  const Events events = ahead.abort(1);

  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].finish, FinishReason::kCancelled);
  EXPECT_EQ(ahead.num_free(kvcache::KvKind::kFull), small_options().full_pages);
  EXPECT_TRUE(ahead.abort(1).empty());
  EXPECT_EQ(ahead.planner.plan().releases, (Slots{SlotId{0}}));
  EXPECT_TRUE(ahead.accept(draws(0, 0, 5)).empty());
  EXPECT_TRUE(ahead.accept(draws(1, 0, 5)).empty());
  EXPECT_TRUE(ahead.accept(StepResult{.step = 2}).empty());
  EXPECT_FALSE(ahead.planner.has_work());
}

TEST(StepPlannerAhead, ASequenceWhoseLastDrawIsOutCanBeAborted) {
  SequenceRequest request = small_request(1);
  request.max_tokens = 1;
  Ahead ahead(request);

  EXPECT_EQ(ahead.abort(1)[0].finish, FinishReason::kCancelled);
  EXPECT_TRUE(ahead.accept(draws(0, 0, 5)).empty());
  EXPECT_TRUE(ahead.accept(StepResult{.step = 1}).empty());
  EXPECT_FALSE(ahead.planner.has_work());
}

TEST(StepPlannerAhead, NonFiniteLogitsEndTheSequenceAndItsRowInFlightIsDropped) {
  Ahead ahead;
  StepResult bad = draws(0, 0, -1);
  bad.outputs[0].choice.finite = false;

  const Events events = ahead.accept(bad);

  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].error.message, "non-finite logits at position 2");
  // What the ranks draw after token -1 means nothing, but there is a draw.
  bad.step = 1;
  EXPECT_TRUE(ahead.accept(bad).empty());
  EXPECT_EQ(ahead.planner.plan().releases, (Slots{SlotId{0}}));
}

TEST(StepPlannerAhead, RanksOweADrawAlsoToASequenceThatEnded) {
  Ahead ahead(stopping_at_9());
  ahead.accept(draws(0, 0, 9));
  Events events;

  const auto accepted = ahead.planner.accept(StepResult{.step = 1}, events);

  ASSERT_FALSE(accepted.ok());
  EXPECT_NE(accepted.error().message.find("drew no token"), std::string::npos);
}

TEST(StepPlannerAhead, AFailureEndsAlsoWhoWaitsForTheLastDraw) {
  SequenceRequest request = small_request(1);
  request.max_tokens = 1;
  Ahead ahead(request);
  ahead.planner.add(small_request(2));
  Events events;

  ahead.planner.fail_all(unavailable("gone"), events);

  EXPECT_EQ(events.size(), 2u);
  EXPECT_EQ(ahead.planner.num_steps_out(), 0);
}

// Two sequences of which the pool holds two pages each: when the older asks for its third, the
// younger gives way, while what it draws in the step before is not known.
class Preempted : public ::testing::Test {
 protected:
  static Engine::Options tight_options() {
    Engine::Options options = small_options();
    options.has_window = false;
    options.positions_max = 48;
    options.full_pages = 4;
    return options;
  }
  static SequenceRequest request(int64_t id) {
    SequenceRequest request = stopping_at_9();
    request.id = SequenceId{id};
    request.prompt.assign(15, 7);
    request.max_tokens = 30;
    return request;
  }
  static StepResult both(int64_t step, int32_t older, int32_t younger) {
    StepResult result = draws(step, 0, older);
    result.outputs.push_back(draws(step, 1, younger).outputs[0]);
    return result;
  }
  Events accept(const StepResult& result) {
    Events events;
    planner_.accept(result, events).value();
    return events;
  }
  // Until position 32 of the older is planned, with the step before it out.
  void SetUp() override {
    planner_.add(request(1));
    planner_.plan();
    planner_.add(request(2));
    ASSERT_EQ(planner_.plan().admissions.size(), 1u);
    accept(draws(0, 0, 5));
    for (int64_t step = 2; step < 18; ++step) {
      ASSERT_TRUE(planner_.plan().releases.empty());
      accept(both(step - 1, 5, 5));
    }
    ASSERT_EQ(planner_.plan().releases, (Slots{SlotId{1}}));
  }

  StepPlanner planner_{tight_options()};
};

TEST_F(Preempted, ItsTokenInFlightIsKeptAndReadAnew) {
  const Events events = accept(both(17, 6, 8));

  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[1].id, SequenceId{2});
  EXPECT_EQ(events[1].tokens[0].id, 8);
  Events none;
  planner_.abort(SequenceId{1}, none);
  const StepPlan again = planner_.plan();
  ASSERT_EQ(again.admissions.size(), 1u);
  EXPECT_EQ(again.admissions[0].tokens.size(), 32u);
  EXPECT_EQ(again.admissions[0].tokens.back(), 8);
  EXPECT_EQ(again.admissions[0].num_prompt, 15);
}

TEST_F(Preempted, ItIsNotReadmittedBeforeItsTokenIsKnown) {
  Events events;
  planner_.abort(SequenceId{1}, events);

  EXPECT_TRUE(planner_.plan().admissions.empty());
  EXPECT_FALSE(planner_.can_plan());
  accept(both(17, 6, 8));
  EXPECT_TRUE(planner_.can_plan());
  EXPECT_EQ(planner_.plan().admissions.size(), 1u);
}

TEST_F(Preempted, AStopInFlightEndsItWhereItWaits) {
  const Events events = accept(both(17, 6, 9));

  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[1].finish, FinishReason::kStop);
  Events none;
  planner_.abort(SequenceId{2}, none);
  EXPECT_TRUE(none.empty());
}

TEST_F(Preempted, ItCanBeAbortedWhileItsTokenIsOut) {
  Events events;
  planner_.abort(SequenceId{2}, events);

  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].finish, FinishReason::kCancelled);
  EXPECT_EQ(accept(both(17, 6, 8)).size(), 1u);
}

}  // namespace
}  // namespace mimo::node
