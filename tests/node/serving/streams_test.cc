#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <random>
#include <thread>

#include "serving_group.h"

namespace mimo::node {
namespace {

using model_test::checkpoint_folder;
using model_test::golden_cases;
using model_test::GoldenCase;
using model_test::test_limits;

#ifdef MIMO_FEWER_STREAMS  // instrumented builds are some twenty times slower
constexpr int32_t kNumStreams = 24;
constexpr int32_t kNumPages = 16;  // of 16 tokens: hardly more than one of the longest sequences
#else
constexpr int32_t kNumStreams = 64;
constexpr int32_t kNumPages = 24;  // two of the longest sequences
#endif

uint64_t test_seed() {
  const char* given = std::getenv("MIMO_TEST_SEED");
  const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : 20251;
  std::printf("MIMO_TEST_SEED=%llu\n", static_cast<unsigned long long>(seed));
  return seed;
}

SequenceRequest random_request(std::mt19937_64& random, int64_t id, int32_t vocab) {
  const auto pick = [&](int32_t low, int32_t high) {
    return std::uniform_int_distribution<int32_t>(low, high)(random);
  };
  SequenceRequest request;
  request.id = SequenceId{id};
  request.prompt.resize(static_cast<size_t>(pick(1, 60)));
  for (int32_t& token : request.prompt) token = pick(0, vocab - 1);
  request.max_tokens = pick(1, 120);
  request.sampling.temperature = pick(0, 2) == 0 ? 0.0f : 1.2f;
  request.sampling.seed = random();
  request.sampling.top_k = pick(0, 1) * 40;
  request.sampling.repetition_penalty = pick(0, 1) == 0 ? 1.0f : 1.3f;
  request.sampling.stop_ids = {pick(0, vocab - 1)};
  return request;
}

ClusterOptions options_with(int32_t tp, int32_t sequences, std::array<int32_t, 2> pages) {
  ClusterOptions options;
  options.tp = tp;
  options.limits = test_limits(16);
  options.limits.sequences_max = sequences;
  options.limits.positions_max = 256;
  options.num_pages = pages;
  options.group_timeout_ms = 120'000;
  return options;
}

struct Side {
  const char* name;
  int32_t tp;
  bool deferred;  // over a backend that takes steps ahead
};
std::ostream& operator<<(std::ostream& out, const Side& side) { return out << side.name; }

class Streams : public ::testing::TestWithParam<Side> {};

// 64 streams of mixed lengths at once, a third of them cancelled somewhere, in a pool that holds a
// few: each that ends by itself is what it is alone, and everything comes back.
TEST_P(Streams, InAPoolTooSmallForAllEachEqualsItsLoneRun) {
  const std::string folder = checkpoint_folder("bf16-small-window");
  std::mt19937_64 random(test_seed());
  std::vector<SequenceRequest> requests;
  for (int64_t id = 0; id < kNumStreams; ++id) {
    requests.push_back(random_request(random, id, 192));
  }
  std::vector<Stream> alone;
  {
    ServingGroup group(folder, options_with(GetParam().tp, 4, {64, 64}), 256, 64);
    for (const SequenceRequest& request : requests) {
      ASSERT_TRUE(group.submit(request).ok());
      alone.push_back(group.wait(request.id.value));
    }
  }

  ClusterOptions options = options_with(GetParam().tp, 16, {kNumPages, 40});
  model_test::DeferredCounts counts;
  if (GetParam().deferred) options.deferred = &counts;
  ServingGroup group(folder, options, 64, 24);
  std::vector<std::thread> cancellers;
  std::vector<bool> cancelled(kNumStreams);
  for (int64_t id = 0; id < kNumStreams; ++id)
    cancelled[static_cast<size_t>(id)] = random() % 3 == 0;
  for (const SequenceRequest& request : requests) ASSERT_TRUE(group.submit(request).ok());
  for (int64_t id = 0; id < kNumStreams; ++id) {
    if (!cancelled[static_cast<size_t>(id)]) continue;
    const size_t after = random() % 20;
    cancellers.emplace_back([&group, id, after] {
      group.wait_for_tokens(id, after);
      group.abort(id);
    });
  }
  for (std::thread& canceller : cancellers) canceller.join();

  int32_t num_whole = 0;
  for (int64_t id = 0; id < kNumStreams; ++id) {
    const Stream stream = group.wait(id);
    const Stream& want = alone[static_cast<size_t>(id)];
    ASSERT_NE(stream.finish, FinishReason::kError) << stream.error.to_string();
    if (stream.finish == FinishReason::kCancelled) {
      ASSERT_TRUE(cancelled[static_cast<size_t>(id)]);
      ASSERT_LE(stream.ids.size(), want.ids.size());
      const std::vector<int32_t> begin(want.ids.begin(),
                                       want.ids.begin() + static_cast<int64_t>(stream.ids.size()));
      EXPECT_EQ(stream.ids, begin) << "sequence " << id;
      continue;
    }
    ++num_whole;
    EXPECT_EQ(stream.finish, want.finish) << "sequence " << id;
    EXPECT_EQ(stream.ids, want.ids) << "sequence " << id;
  }
  EXPECT_GE(num_whole, kNumStreams / 2);
  group.wait_idle();
  EXPECT_GT(group.num_preemptions(), 0) << "the pool was not too small for all";
  // Four sizes of decode steps, greedy and not, and none recorded while streams ran.
  EXPECT_EQ(counts.num_recorded, GetParam().deferred ? 8 : 0);
}

INSTANTIATE_TEST_SUITE_P(Tp, Streams,
                         ::testing::Values(Side{"tp1", 1, false}, Side{"tp2", 2, false},
                                           Side{"tp1_ahead", 1, true}),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(Streams, TwoModelsOfDifferentWidthsServeSideBySide) {
  const std::string small = checkpoint_folder("bf16-small-window");
  const std::string tiny = checkpoint_folder("tiny");
  ServingGroup first(small, options_with(2, 8, {60, 60}), 128, 32);
  ServingGroup second(tiny, options_with(2, 8, {60, 60}), 128, 32);
  const std::vector<GoldenCase> first_cases = golden_cases(small);
  const std::vector<GoldenCase> second_cases = golden_cases(tiny);
  const auto greedy = [](int64_t id, const GoldenCase& one) {
    SequenceRequest request;
    request.id = SequenceId{id};
    request.prompt = one.prompt;
    request.max_tokens = static_cast<int32_t>(std::min<size_t>(one.greedy.size(), 16));
    request.sampling.temperature = 0;
    return request;
  };

  for (size_t i = 0; i < 3; ++i) {
    ASSERT_TRUE(first.submit(greedy(static_cast<int64_t>(i), first_cases[i])).ok());
    ASSERT_TRUE(second.submit(greedy(static_cast<int64_t>(i), second_cases[i])).ok());
  }

  for (size_t i = 0; i < 3; ++i) {
    for (auto* side : {&first, &second}) {
      const GoldenCase& one = side == &first ? first_cases[i] : second_cases[i];
      const Stream stream = side->wait(static_cast<int64_t>(i));
      const std::vector<int32_t> want(
          one.greedy.begin(), one.greedy.begin() + std::min<int64_t>(one.greedy.size(), 16));
      EXPECT_EQ(stream.ids, want) << "case " << i;
    }
  }
}

}  // namespace
}  // namespace mimo::node
