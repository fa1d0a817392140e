#include "node/engine/scheduler.h"

#include <gtest/gtest.h>

namespace mimo::node {
namespace {

using kvcache::KvKind;
using kvcache::KvSpec;
using Rows = std::vector<int32_t>;
using Views = std::vector<SequenceView>;

KvSpec spec_of(KvKind kind, int32_t window) {
  return {.kind = kind,
          .num_layers = 1,
          .kv_heads = 1,
          .k_dim = 2,
          .v_dim = 1,
          .page_tokens = 16,
          .window = window};
}

SchedulerLimits limits() {
  return {.sequences_max = 4,
          .batch_tokens_max = 40,
          .prefill_chunk_max = 32,
          .groups = {spec_of(KvKind::kFull, 0)}};
}

StepDecision decide(const SchedulerLimits& limits, const Views& running, const Views& waiting,
                    int32_t full_pages, int32_t window_pages = 0) {
  StepDecision decision;
  Scheduler(limits).decide(
      {.running = running, .waiting = waiting, .free_pages = {full_pages, window_pages}}, decision);
  return decision;
}

TEST(Scheduler, DecodesComeBeforeOlderPrompts) {
  SchedulerLimits tight = limits();
  tight.batch_tokens_max = 4;

  const auto decision = decide(tight, {{100, 0}, {9, 8}, {5, 4}}, {}, 100);

  EXPECT_EQ(decision.rows, (Rows{2, 1, 1}));
}

TEST(Scheduler, ChunksAreBoundedByTheirOwnLimitAndTheStepsRows) {
  const auto decision = decide(limits(), {{100, 10}, {100, 0}, {100, 0}}, {}, 100);

  EXPECT_EQ(decision.rows, (Rows{32, 8, 0}));
}

TEST(Scheduler, NoChunkIsSmallerThanItsBound) {
  SchedulerLimits coarse = limits();
  coarse.prefill_chunk_min = 9;
  const auto rows = [&](const Views& running, int32_t pages = 100) {
    return decide(coarse, running, {}, pages).rows;
  };

  EXPECT_EQ(rows({{5, 0}}), (Rows{5})) << "a prompt that is smaller itself";
  EXPECT_EQ(rows({{100, 0}}), (Rows{32}));
  EXPECT_EQ(rows({{100, 64}}), (Rows{27})) << "nine are left";
  EXPECT_EQ(rows({{100, 91}}), (Rows{9}));
  EXPECT_EQ(rows({{100, 0}, {100, 0}}), (Rows{32, 0})) << "eight rows are left";
  EXPECT_EQ(rows({{100, 70}, {100, 0}}), (Rows{30, 10}));
  EXPECT_EQ(rows({{100, 70}, {17, 0}}), (Rows{30, 0})) << "seven would be left";
  EXPECT_EQ(rows({{100, 16}}, 1), (Rows{16})) << "a page";
  EXPECT_EQ(decide(coarse, {{100, 68}}, {{30, 0}}, 100).admitted_rows, (Rows{}));
  EXPECT_EQ(decide(coarse, {{100, 70}}, {{30, 0}}, 100).admitted_rows, (Rows{10}));
}

TEST(Scheduler, AdmitsInOrderOfArrivalWhileRowsAndSlotsLast) {
  EXPECT_EQ(decide(limits(), {{9, 8}}, {{20, 0}, {30, 0}, {5, 0}}, 100).admitted_rows,
            (Rows{20, 19}));
  EXPECT_EQ(decide(limits(), {{9, 8}, {9, 8}, {9, 8}}, {{3, 0}, {3, 0}}, 100).admitted_rows,
            (Rows{3}));
}

TEST(Scheduler, ASmallRequestDoesNotOvertakeALargeOneThatLacksPages) {
  const auto decision = decide(limits(), {{9, 8}}, {{160, 0}, {1, 0}}, 8);

  EXPECT_TRUE(decision.admitted_rows.empty());
}

TEST(Scheduler, LeavesRunningPromptsThePagesTheyNeed) {
  // The running prompt needs 6 pages more and 1 to draw into; the newcomer 2.
  EXPECT_TRUE(decide(limits(), {{128, 32}}, {{16, 0}}, 8).admitted_rows.empty());
  EXPECT_EQ(decide(limits(), {{128, 32}}, {{16, 0}}, 9).admitted_rows.size(), 1u);
}

TEST(Scheduler, AloneASequenceStartsWhateverItKnows) {
  const auto decision = decide(limits(), {}, {{64, 0}, {1, 0}}, 4);

  EXPECT_EQ(decision.admitted_rows, (Rows{32}));
}

TEST(Scheduler, OutOfPagesTheYoungestIsPreempted) {
  // All three need a page; the youngest's two are enough for the others.
  const auto decision = decide(limits(), {{17, 16}, {33, 32}, {33, 32}}, {{1, 0}}, 0);

  EXPECT_EQ(decision.rows, (Rows{1, 1}));
  EXPECT_TRUE(decision.admitted_rows.empty());
}

TEST(Scheduler, TheYoungestPreemptsItself) {
  const auto decision = decide(limits(), {{20, 19}, {33, 32}}, {}, 0);

  EXPECT_EQ(decision.rows, (Rows{1}));
}

TEST(Scheduler, TheOldestPreemptsForAChunkAndGetsTheVictimsRowsToo) {
  SchedulerLimits tight = limits();
  tight.sequences_max = 2;
  tight.batch_tokens_max = 2;

  const auto decision = decide(tight, {{48, 16}, {21, 20}}, {}, 0);

  EXPECT_EQ(decision.rows, (Rows{2}));
}

TEST(Scheduler, AYoungerPromptWaitsForPagesAndKeepsItsOwn) {
  const auto decision = decide(limits(), {{20, 19}, {100, 16}, {100, 16}}, {{1, 0}}, 0);

  EXPECT_EQ(decision.rows, (Rows{1, 0, 0}));
  EXPECT_TRUE(decision.admitted_rows.empty());
}

TEST(Scheduler, AChunkShrinksToThePagesThereAre) {
  const auto decision = decide(limits(), {{100, 8}}, {}, 1);

  EXPECT_EQ(decision.rows, (Rows{24}));
}

TEST(Scheduler, BothGroupsBoundAChunk) {
  SchedulerLimits both = limits();
  both.groups.push_back(spec_of(KvKind::kWindow, 20));

  EXPECT_EQ(decide(both, {{100, 0}}, {}, 100, 1).rows, (Rows{16}));
  EXPECT_EQ(decide(both, {{100, 0}}, {}, 1, 100).rows, (Rows{16}));
}

TEST(Scheduler, AWindowPoolOfItsSteadySizeIsUsedInFull) {
  SchedulerLimits window_only = limits();
  window_only.groups = {spec_of(KvKind::kWindow, 32)};
  const KvSpec spec = window_only.groups[0];
  ASSERT_EQ(spec.pages_max(1000), 3);
  const Views running = {{501, 500}, {501, 500}, {501, 500}};
  const int32_t free = 4 * 3 - 3 * spec.pages_held(500);

  EXPECT_EQ(decide(window_only, running, {{500, 0}}, 0, free).admitted_rows.size(), 1u);
}

}  // namespace
}  // namespace mimo::node
