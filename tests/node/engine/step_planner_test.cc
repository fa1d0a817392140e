#include "node/engine/step_planner.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "tests/node/engine/engine_world.h"
#include "tests/node/engine/fake_rank.h"

namespace mimo::node {
namespace {

using Events = std::vector<SequenceEvent>;

// One sequence whose prompt of three tokens is planned in step 0.
struct One {
  explicit One(SequenceRequest request = small_request(1)) : planner(small_options()) {
    planner.add(std::move(request));
    first = planner.plan();
  }
  // The events of a step's result; the next step is planned when the sequence goes on.
  Events accept(const StepResult& result) {
    Events events;
    planner.accept(result, events).value();
    return events;
  }

  StepPlanner planner;
  StepPlan first;
};

TEST(StepPlanner, AnAdmissionCarriesTheTokensOnceAndItsFirstPages) {
  One one;

  ASSERT_EQ(one.first.admissions.size(), 1u);
  EXPECT_EQ(one.first.admissions[0].tokens, (std::vector<int32_t>{1, 2, 3}));
  EXPECT_EQ(one.first.admissions[0].num_prompt, 3);
  ASSERT_EQ(one.first.prefills.size(), 1u);
  EXPECT_EQ(one.first.prefills[0].num_tokens, 3);
  EXPECT_EQ(one.first.grants.size(), 2u);

  one.accept(draws(0, 0, 9));
  const StepPlan second = one.planner.plan();
  EXPECT_TRUE(second.empty_of_changes());
  EXPECT_EQ(second.step, 1);
}

TEST(StepPlanner, AStopIdEndsTheSequenceAndIsNamed) {
  SequenceRequest request = small_request(1);
  request.sampling.stop_ids = {4, 9};
  One one(request);

  const Events events = one.accept(draws(0, 0, 9));

  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].finish, FinishReason::kStop);
  EXPECT_EQ(events[0].stop_id, 9);
  ASSERT_EQ(events[0].tokens.size(), 1u);
  EXPECT_EQ(events[0].tokens[0].id, 9);
  const StepPlan last = one.planner.plan();
  EXPECT_EQ(last.releases, (std::vector<SlotId>{SlotId{0}}));
  Events none;
  EXPECT_TRUE(one.planner.accept(StepResult{.step = 1}, none).ok());
  EXPECT_FALSE(one.planner.has_work());
}

TEST(StepPlanner, AnIgnoredStopIdIsATokenLikeAnyOther) {
  SequenceRequest request = small_request(1);
  request.sampling.stop_ids = {9};
  request.ignore_stop_ids = true;
  One one(request);

  EXPECT_EQ(one.accept(draws(0, 0, 9))[0].finish, FinishReason::kNone);
}

TEST(StepPlanner, MaxTokensAndPositionsEndWithLength) {
  SequenceRequest short_one = small_request(1);
  short_one.max_tokens = 1;
  EXPECT_EQ(One(short_one).accept(draws(0, 0, 5))[0].finish, FinishReason::kLength);

  SequenceRequest full_one = small_request(1);
  full_one.prompt.assign(199, 7);
  full_one.max_tokens = 50;
  One one(full_one);
  StepResult nothing{.step = 0};
  for (int32_t read = 16; read < 199; read += 16) {
    EXPECT_TRUE(one.accept(nothing).empty());
    nothing.step = one.planner.plan().step;
  }
  EXPECT_EQ(one.accept(draws(nothing.step, 0, 5))[0].finish, FinishReason::kLength);
}

TEST(StepPlanner, NonFiniteLogitsEndThatSequenceAlone) {
  One one;
  one.accept(draws(0, 0, 5));
  one.planner.add(small_request(2));
  one.planner.plan();
  StepResult result = draws(1, 0, 5);
  result.outputs[0].choice.finite = false;
  result.outputs.push_back(draws(1, 1, 6).outputs[0]);

  const Events events = one.accept(result);

  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].finish, FinishReason::kError);
  EXPECT_EQ(events[0].error.to_string(), "INTERNAL: non-finite logits at position 3");
  EXPECT_TRUE(events[0].tokens.empty());
  EXPECT_EQ(events[1].finish, FinishReason::kNone);
}

TEST(StepPlanner, NonFinitePromptScoresEndTheSequence) {
  SequenceRequest request = small_request(1);
  request.num_prompt_logprobs = 0;
  One one(request);
  EXPECT_EQ(one.first.admissions[0].num_prompt_logprobs, 0);
  StepResult result = draws(0, 0, 5);
  result.outputs[0].prompt_begin = 1;
  result.outputs[0].prompt_scores.resize(2);
  result.outputs[0].prompt_scores[1].finite = false;

  const Events events = one.accept(result);

  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].error.message, "non-finite logits at position 1");
  EXPECT_TRUE(events[0].tokens.empty());
}

TEST(StepPlanner, RefusesResultsThatDoNotFitThePlan) {
  const auto refuses = [](const StepResult& result, const std::string& part) {
    One one;
    Events events;
    const auto accepted = one.planner.accept(result, events);
    ASSERT_FALSE(accepted.ok()) << part;
    EXPECT_EQ(accepted.error().code, Code::kInternal);
    EXPECT_NE(accepted.error().message.find(part), std::string::npos) << accepted.error().message;
    one.planner.fail_all(accepted.error(), events);
    ASSERT_EQ(events.size(), 1u);
    EXPECT_EQ(events[0].finish, FinishReason::kError);
  };
  StepResult twice = draws(0, 0, 5), scored = draws(0, 0, 5);
  twice.outputs.push_back(twice.outputs[0]);
  scored.outputs[0].prompt_begin = 1;
  scored.outputs[0].prompt_scores.resize(1);

  refuses(draws(1, 0, 5), "is of step 1, expected step 0");
  refuses(draws(0, 3, 5), "output of slot 3, which read nothing in step 0");
  refuses(draws(0, 4, 5), "output of slot 4");
  refuses(twice, "two outputs of slot 0");
  refuses(StepResult{.step = 0}, "drew no token after the last known one");
  refuses(draws(0, 0, 1000), "drew token 1000, expected 0 to 999");
  refuses(scored, "scores prompt tokens 1 to 1");
}

// Two sequences of which the pool holds one and a half.
TEST(StepPlanner, APreemptedSequenceKeepsItsOutputsAndItsPlaceInTheQueue) {
  Engine::Options options = small_options();
  options.full_pages = 13;
  StepPlanner planner(options);
  FakeRank rank({.engine = options});
  for (int64_t id = 0; id < 3; ++id) {
    SequenceRequest request = small_request(id);
    request.max_tokens = 190;
    planner.add(std::move(request));
  }
  std::map<SequenceId, Stream> streams;
  std::vector<uint64_t> admitted;
  for (int32_t step = 0; planner.has_work(); ++step) {
    ASSERT_LT(step, 2000);
    const StepPlan plan = planner.plan();
    for (const Admission& admission : plan.admissions) {
      admitted.push_back(admission.sampling.seed);
      const Stream& stream = streams[SequenceId{static_cast<int64_t>(admission.sampling.seed)}];
      EXPECT_EQ(admission.tokens.size(), 3 + stream.tokens.size());
    }
    Events events;
    rank.start(plan).value();
    ASSERT_TRUE(planner.accept(rank.finish().value(), events).ok());
    for (const auto& event : events) ASSERT_TRUE(streams[event.id].add(event));
  }

  EXPECT_EQ(std::vector<uint64_t>(admitted.begin(), admitted.begin() + 3),
            (std::vector<uint64_t>{0, 1, 2}));
  EXPECT_GT(admitted.size(), 3u);
  EXPECT_EQ(std::count(admitted.begin(), admitted.end(), 0u), 1);
  for (int64_t id = 0; id < 3; ++id) {
    SequenceRequest request = small_request(id);
    request.max_tokens = 190;
    EXPECT_EQ(streams[SequenceId{id}].tokens, lone_run(request, options, false).tokens);
  }
}

}  // namespace
}  // namespace mimo::node
