#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <random>

#include "parallel/ucx_endpoint.h"
#include "tests/parallel/rank_process.h"

namespace mimo::parallel {
namespace {

using Clock = std::chrono::steady_clock;
using test::RankProcess;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

bool begins(const std::string& text, const std::string& start) {
  return text.compare(0, start.size(), start) == 0;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

class UcxGroupTest : public ::testing::Test {
 protected:
  void start(int32_t size) {
    for (int32_t r = 0; r < size; ++r)
      ranks_.emplace_back(UCX_RANK_PROGRAM, std::vector<std::string>{});
    for (RankProcess& rank : ranks_) rank.say("open 127.0.0.1");
    for (RankProcess& rank : ranks_) {
      addresses_.push_back(rank.hear());
      ASSERT_TRUE(begins(addresses_.back(), "ucx1:")) << addresses_.back();
    }
  }

  std::string form_line(size_t rank, int64_t epoch, int64_t timeout_ms) const {
    std::string line = "form " + std::to_string(rank) + " " + std::to_string(epoch) + " " +
                       std::to_string(timeout_ms);
    for (const std::string& address : addresses_) line += " " + address;
    return line;
  }

  void start_and_form(int32_t size, int64_t timeout_ms = 10000) {
    start(size);
    for (size_t r = 0; r < ranks_.size(); ++r) ranks_[r].say(form_line(r, 7, timeout_ms));
    for (RankProcess& rank : ranks_) ASSERT_EQ(rank.hear(), "ok");
  }

  std::vector<std::string> all(const std::string& line) {
    for (RankProcess& rank : ranks_) rank.say(line);
    std::vector<std::string> answers;
    for (RankProcess& rank : ranks_) answers.push_back(rank.hear());
    return answers;
  }

  void expect_all(const std::string& line, const std::string& expected) {
    for (const std::string& answer : all(line)) EXPECT_EQ(answer, expected) << line;
  }

  std::vector<RankProcess> ranks_;
  std::vector<std::string> addresses_;
};

class UcxGroupOfSize : public UcxGroupTest, public ::testing::WithParamInterface<int32_t> {};

TEST_P(UcxGroupOfSize, SumsGathersAndMeets) {
  start_and_form(GetParam());

  for (const char* count : {"0", "1", "7", "4099", "300001"}) {
    expect_all(std::string("reduce ") + count + " 3", "ok");
  }
  for (const char* bytes : {"0", "1", "13", "100003"}) {
    expect_all(std::string("gather ") + bytes + " 4", "ok");
  }
  expect_all("barrier", "ok");
  expect_all("leave", "ok");
  for (RankProcess& rank : ranks_) EXPECT_EQ(rank.finish(), 0);  // no leak, under ASan
}

TEST_P(UcxGroupOfSize, TwoHundredRandomSumsAreTheSameBitsOnAllRanks) {
  const uint32_t seed = std::random_device{}();
  std::printf("seed %u\n", seed);
  start_and_form(GetParam());

  const auto answers = all("reduce_many " + std::to_string(seed) + " 200");

  for (const std::string& answer : answers) {
    EXPECT_TRUE(begins(answer, "ok ")) << answer;
    EXPECT_EQ(answer, answers[0]);
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, UcxGroupOfSize, ::testing::Values(1, 2, 3, 4));

TEST_F(UcxGroupTest, AKilledPeerIsAnErrorWithinASecond) {
  start_and_form(3);
  ranks_[0].say("reduce 300001 1");
  ranks_[1].say("reduce 300001 1");

  const auto killed = Clock::now();
  ranks_[2].signal(SIGKILL);

  const std::string first = ranks_[0].hear(), second = ranks_[1].hear();
  EXPECT_LT(seconds_since(killed), 1.0);
  EXPECT_TRUE(begins(first, "error UNAVAILABLE")) << first;
  EXPECT_TRUE(begins(second, "error UNAVAILABLE")) << second;
  for (int r : {0, 1}) EXPECT_EQ(ranks_[r].finish(), 0);
}

TEST_F(UcxGroupTest, APeerKilledBetweenCallsIsFoundByTheNextOne) {
  start_and_form(2);
  ranks_[1].signal(SIGKILL);
  EXPECT_EQ(ranks_[1].wait(), -1);

  const auto asked = Clock::now();
  ranks_[0].say("barrier");
  const std::string first = ranks_[0].hear();
  EXPECT_LT(seconds_since(asked), 1.0);
  EXPECT_TRUE(begins(first, "error UNAVAILABLE")) << first;
  EXPECT_TRUE(contains(first, "rank 1 is lost")) << first;

  ranks_[0].say("reduce 5 1");
  EXPECT_EQ(ranks_[0].hear(), first);  // broken for good, for the first reason
}

TEST_F(UcxGroupTest, AStoppedPeerIsAnErrorAtTheTimeout) {
  start_and_form(3, 1000);
  ranks_[2].signal(SIGSTOP);

  const auto asked = Clock::now();
  ranks_[0].say("reduce 1 1");
  ranks_[1].say("reduce 1 1");

  for (int r : {0, 1}) {
    const std::string answer = ranks_[r].hear();
    // Whoever gives up first tells the other why.
    EXPECT_TRUE(begins(answer, "error DEADLINE_EXCEEDED")) << answer;
    EXPECT_TRUE(contains(answer, "no word from rank 2")) << answer;
    EXPECT_GT(seconds_since(asked), 0.9);
    EXPECT_LT(seconds_since(asked), 3.0);
  }
}

TEST_F(UcxGroupTest, AStoppedPeerDoesNotHoldALargeSend) {
  start_and_form(2, 1000);
  ranks_[1].signal(SIGSTOP);

  const auto asked = Clock::now();
  ranks_[0].say("reduce 16000000 1");

  const std::string answer = ranks_[0].hear();
  EXPECT_TRUE(begins(answer, "error DEADLINE_EXCEEDED")) << answer;
  EXPECT_LT(seconds_since(asked), 8.0);  // it makes 64 MB of numbers first
}

TEST_F(UcxGroupTest, AbortFromAnotherThreadWakesTheRankAndThenItsPeers) {
  start_and_form(3);
  ranks_[0].say("barrier_until_abort");
  ranks_[1].say("barrier");
  EXPECT_EQ(ranks_[0].hear(), "waiting");

  ranks_[0].say("abort");

  std::istringstream answer(ranks_[0].hear());
  int64_t ms = -1;
  std::string error;
  answer >> ms;
  std::getline(answer, error);
  EXPECT_GE(ms, 0);
  EXPECT_LT(ms, 500);  // 100 ms on a machine that has a core for it
  EXPECT_TRUE(begins(error, " error UNAVAILABLE")) << error;
  const std::string peer = ranks_[1].hear();
  EXPECT_EQ(peer, "error UNAVAILABLE: rank 0 gave up: aborted");
  ranks_[0].say("barrier");
  EXPECT_EQ(ranks_[0].hear(), "error UNAVAILABLE: aborted");
}

TEST_F(UcxGroupTest, DifferentSizesAreToldOnEveryRank) {
  start_and_form(3);
  ranks_[0].say("reduce 5 1");
  ranks_[1].say("reduce 5 1");
  ranks_[2].say("reduce 6 1");

  for (RankProcess& rank : ranks_) {
    const std::string answer = rank.hear();
    EXPECT_TRUE(begins(answer, "error INTERNAL")) << answer;
    EXPECT_TRUE(contains(answer, "all_reduce of 6 F32")) << answer;
    EXPECT_TRUE(contains(answer, "all_reduce of 5 F32")) << answer;
  }
  for (RankProcess& rank : ranks_) EXPECT_EQ(rank.finish(), 0);
}

TEST_F(UcxGroupTest, DifferentCallsAreToldOnEveryRank) {
  start_and_form(2);
  ranks_[0].say("reduce 5 1");
  ranks_[1].say("barrier");

  for (RankProcess& rank : ranks_) {
    const std::string answer = rank.hear();
    EXPECT_TRUE(begins(answer, "error INTERNAL")) << answer;
  }
}

TEST_F(UcxGroupTest, AStaleEpochIsRefused) {
  start(2);
  ranks_[0].say(form_line(0, 8, 2000));
  ranks_[1].say(form_line(1, 7, 2000));

  const std::string stale = ranks_[1].hear(), current = ranks_[0].hear();

  EXPECT_TRUE(begins(stale, "error FAILED_PRECONDITION")) << stale;
  EXPECT_TRUE(contains(stale, "epoch 8")) << stale;
  EXPECT_TRUE(begins(current, "error ")) << current;
}

TEST_F(UcxGroupTest, ARankThatDoesNotComeIsNamed) {
  start(3);
  ranks_[0].say(form_line(0, 7, 500));
  ranks_[1].say(form_line(1, 7, 500));

  for (int r : {0, 1}) {
    const std::string answer = ranks_[r].hear();
    EXPECT_TRUE(begins(answer, "error DEADLINE_EXCEEDED")) << answer;
    EXPECT_TRUE(contains(answer, "no word from rank 2")) << answer;
  }
}

TEST_F(UcxGroupTest, AnAddressThatIsNoneIsRefused) {
  start(2);
  addresses_[1][20] = addresses_[1][20] == '0' ? '1' : '0';
  ranks_[0].say(form_line(0, 7, 500));
  const std::string corrupt = ranks_[0].hear();
  EXPECT_TRUE(begins(corrupt, "error INVALID_ARGUMENT")) << corrupt;

  ranks_[0].say("open 127.0.0.1");
  addresses_ = {ranks_[0].hear(), "127.0.0.1:80"};
  ranks_[0].say(form_line(0, 7, 500));
  const std::string other = ranks_[0].hear();
  EXPECT_TRUE(begins(other, "error INVALID_ARGUMENT")) << other;
}

TEST_F(UcxGroupTest, FormsOverWhateverInterfacesThereAre) {
  start(2);
  addresses_.clear();
  for (RankProcess& rank : ranks_) rank.say("open");
  for (RankProcess& rank : ranks_) addresses_.push_back(rank.hear());

  for (size_t r : {0, 1}) ranks_[r].say(form_line(r, 7, 10000));

  for (RankProcess& rank : ranks_) EXPECT_EQ(rank.hear(), "ok");
  expect_all("reduce 50001 1", "ok");
}

TEST_F(UcxGroupTest, RanksFormAgainAndAgainAndLeaveInAnyOrder) {
  start(2);
  for (int64_t epoch = 1; epoch <= 20; ++epoch) {
    for (size_t r : {0, 1}) {
      ranks_[r].say(form_line(r, epoch, 10000));
      ranks_[r].say("reduce 50001 " + std::to_string(epoch));
      ranks_[r].say("leave");
      ranks_[r].say("open 127.0.0.1");
    }
    addresses_.clear();
    for (RankProcess& rank : ranks_) {
      ASSERT_EQ(rank.hear(), "ok");
      ASSERT_EQ(rank.hear(), "ok");
      ASSERT_EQ(rank.hear(), "ok");
      addresses_.push_back(rank.hear());
    }
  }
}

TEST(UcxEndpoint, AHostThatIsNotOursIsRefused) {
  UcxEndpoint::Options options;
  options.bind_host = "192.0.2.1";

  const auto opened = UcxEndpoint::open(options);

  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.error().code, Code::kInvalidArgument);
  EXPECT_NE(opened.error().message.find("192.0.2.1"), std::string::npos);
}

}  // namespace
}  // namespace mimo::parallel
