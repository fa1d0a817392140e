#include <cuda_runtime.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <random>
#include <thread>

#include "tests/parallel/rank_process.h"

namespace mimo::parallel {
namespace {

using Clock = std::chrono::steady_clock;
using test::RankProcess;

constexpr int64_t kStartMs = 60000;  // CUDA's and NCCL's
constexpr int64_t kWorkMs = 60000;

int32_t num_gpus() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

#define SKIP_BELOW(needed) \
  if (num_gpus() < (needed)) GTEST_SKIP() << "needs " << (needed) << " GPUs, here " << num_gpus()

// It lies beside this program, so that both can be carried.
std::string helper_program() {
  std::array<char, 4096> path{};
  const ssize_t size = ::readlink("/proc/self/exe", path.data(), path.size() - 1);
  const std::string program(path.data(), size > 0 ? static_cast<size_t>(size) : 0);
  return program.substr(0, program.rfind('/')) + "/nccl_group_cuda_helper";
}

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

bool begins(const std::string& text, const std::string& start) {
  return text.compare(0, start.size(), start) == 0;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

class NcclGroupTest : public ::testing::Test {
 protected:
  void start(int32_t size) {
    for (int32_t r = 0; r < size; ++r) {
      ranks_.emplace_back(helper_program(), std::vector<std::string>{});
    }
    addresses_.resize(static_cast<size_t>(size));
  }

  void open(const std::string& algorithm = "auto", int32_t devices = 100) {
    for (size_t r = 0; r < ranks_.size(); ++r) {
      const size_t device = r % static_cast<size_t>(devices);
      ranks_[r].say("open " + std::to_string(device) + " " + std::to_string(r) + " " + algorithm);
    }
    for (size_t r = 0; r < ranks_.size(); ++r) {
      addresses_[r] = ranks_[r].hear(kStartMs);
      ASSERT_TRUE(!addresses_[r].empty() && !begins(addresses_[r], "error")) << addresses_[r];
    }
  }

  std::string form_line(size_t rank, int64_t timeout_ms) const {
    std::string line = "form " + std::to_string(rank) + " 7 " + std::to_string(timeout_ms);
    for (const std::string& address : addresses_) line += " " + address;
    return line;
  }

  void form(int64_t timeout_ms = 20000) {
    for (size_t r = 0; r < ranks_.size(); ++r) ranks_[r].say(form_line(r, timeout_ms));
    for (RankProcess& rank : ranks_) ASSERT_EQ(rank.hear(kStartMs), "ok");
  }

  void start_and_form(int32_t size, const std::string& algorithm = "auto",
                      int64_t timeout_ms = 20000) {
    start(size);
    ASSERT_NO_FATAL_FAILURE(open(algorithm));
    ASSERT_NO_FATAL_FAILURE(form(timeout_ms));
  }

  std::vector<std::string> all(const std::string& line) {
    for (RankProcess& rank : ranks_) rank.say(line);
    std::vector<std::string> answers;
    for (RankProcess& rank : ranks_) answers.push_back(rank.hear(kWorkMs));
    return answers;
  }

  void expect_all(const std::string& line) {
    const auto answers = all(line);
    for (const std::string& answer : answers) {
      EXPECT_TRUE(begins(answer, "ok")) << line << ": " << answer;
      EXPECT_EQ(answer, answers[0]) << line;  // the same bits
    }
  }

  void expect_sums() {
    for (const char* dtype : {"BF16 ", "F32 "}) {
      for (const char* count : {"0", "1", "7", "8", "511", "4096", "4099", "65536", "131073",
                                "262145", "1048576", "2097152"}) {
        expect_all(std::string("reduce ") + dtype + count + " 3 0");
      }
      expect_all(std::string("reduce ") + dtype + "4097 5 1");  // not aligned to 16 bytes
      expect_all(std::string("reduce ") + dtype + "300001 5 3");
    }
  }

  std::vector<RankProcess> ranks_;
  std::vector<std::string> addresses_;
};

class NcclGroupOfSize : public NcclGroupTest, public ::testing::WithParamInterface<int32_t> {};

TEST_P(NcclGroupOfSize, OneShotHasTheBitsOfASumInRankOrder) {
  SKIP_BELOW(GetParam());
  ASSERT_NO_FATAL_FAILURE(start_and_form(GetParam(), "one_shot"));
  expect_sums();
}

TEST_P(NcclGroupOfSize, TwoShotHasTheBitsOfASumInRankOrder) {
  SKIP_BELOW(GetParam());
  ASSERT_NO_FATAL_FAILURE(start_and_form(GetParam(), "two_shot"));
  expect_sums();
}

TEST_P(NcclGroupOfSize, NcclIsExactOnWholeNumbersAndTheSameOnAllRanks) {
  SKIP_BELOW(GetParam());
  ASSERT_NO_FATAL_FAILURE(start_and_form(GetParam(), "nccl"));
  for (const char* dtype : {"BF16 ", "F32 "}) {
    for (const char* count : {"0", "1", "7", "4099", "262145", "2097152"}) {
      expect_all(std::string("integers ") + dtype + count + " 3");
    }
  }
}

TEST_P(NcclGroupOfSize, ChoosesAndGathersAndMeets) {
  SKIP_BELOW(GetParam());
  ASSERT_NO_FATAL_FAILURE(start_and_form(GetParam()));
  for (const char* count : {"1", "131072", "262144", "262145", "2097152", "8388608"}) {
    expect_all(std::string("integers BF16 ") + count + " 11");
  }
  for (const char* where : {" apart", " in_place"}) {
    for (const char* bytes : {"0", "1", "13", "16", "4096", "100003", "8388608", "9000016"}) {
      expect_all(std::string("gather ") + bytes + " 4" + where);
    }
  }
  expect_all("barrier");
  expect_all("barrier");
  expect_all("leave");
  for (RankProcess& rank : ranks_) EXPECT_EQ(rank.finish(), 0);
}

TEST_P(NcclGroupOfSize, AGraphReplayedAThousandTimesWithUnequalArrival) {
  SKIP_BELOW(GetParam());
  const uint32_t seed = std::random_device{}() % 1000000;
  std::printf("seed %u\n", seed);
  ASSERT_NO_FATAL_FAILURE(start_and_form(GetParam()));
  expect_all("replay 1000 " + std::to_string(seed));
}

INSTANTIATE_TEST_SUITE_P(Sizes, NcclGroupOfSize, ::testing::Values(1, 2, 3, 4, 8));

TEST_F(NcclGroupTest, AbortEndsAWaitForAPeerThatNeverComes) {
  SKIP_BELOW(2);
  ASSERT_NO_FATAL_FAILURE(start_and_form(2));
  ranks_[0].say("reduce_until_abort");
  ASSERT_EQ(ranks_[0].hear(), "waiting");

  ranks_[0].say("abort");

  const std::string answer = ranks_[0].hear();
  EXPECT_TRUE(contains(answer, " error UNAVAILABLE: aborted")) << answer;
  EXPECT_LT(std::stoi(answer), 200) << answer;
  ranks_[0].say("barrier");
  EXPECT_EQ(ranks_[0].hear(), "error UNAVAILABLE: aborted");
  ranks_[0].say("leave");
  EXPECT_EQ(ranks_[0].hear(), "ok");
}

TEST_F(NcclGroupTest, AStoppedPeerIsNamedAtTheTimeout) {
  SKIP_BELOW(2);
  for (const char* call : {"reduce BF16 4096 1 0", "barrier"}) {
    ranks_.clear();
    ASSERT_NO_FATAL_FAILURE(start_and_form(2, "auto", 3000));
    ranks_[1].signal(SIGSTOP);

    const auto asked = Clock::now();
    ranks_[0].say(call);

    const std::string answer = ranks_[0].hear();
    EXPECT_EQ(answer, "error DEADLINE_EXCEEDED: no word from rank 1 for 3000 ms") << call;
    EXPECT_GT(seconds_since(asked), 2.5);
    EXPECT_LT(seconds_since(asked), 6.0);
  }
}

TEST_F(NcclGroupTest, AKilledPeerEndsTheCallWithinASecondAndANewOneTakesItsPlace) {
  SKIP_BELOW(2);
  ASSERT_NO_FATAL_FAILURE(start_and_form(2));
  expect_all("reduce BF16 4096 1 0");
  for (const char* count : {"4096", "2097152", "20000000"}) {  // the three ways
    ranks_[0].say(std::string("integers BF16 ") + count + " 1");
    std::this_thread::sleep_for(std::chrono::milliseconds(300));

    const auto killed = Clock::now();
    ranks_[1].signal(SIGKILL);

    const std::string answer = ranks_[0].hear();
    EXPECT_LT(seconds_since(killed), 1.0);
    EXPECT_TRUE(begins(answer, "error UNAVAILABLE: rank 1 is lost")) << answer;
    EXPECT_EQ(ranks_[1].wait(), -1);
    ranks_[0].say("leave");
    ASSERT_EQ(ranks_[0].hear(), "ok");

    ranks_.pop_back();
    ranks_.emplace_back(helper_program(), std::vector<std::string>{});
    ASSERT_NO_FATAL_FAILURE(open());
    ASSERT_NO_FATAL_FAILURE(form());
    expect_all("reduce BF16 4096 2 0");
    expect_all("reduce F32 300001 2 0");
  }
}

TEST_F(NcclGroupTest, ARankThatDoesNotComeEndsTheFormingAtItsDeadline) {
  SKIP_BELOW(2);
  start(2);
  ASSERT_NO_FATAL_FAILURE(open());

  const auto asked = Clock::now();
  ranks_[0].say(form_line(0, 3000));

  const std::string answer = ranks_[0].hear();
  EXPECT_TRUE(begins(answer, "error DEADLINE_EXCEEDED: group of epoch 7: not all of 2 ranks"))
      << answer;
  EXPECT_LT(seconds_since(asked), 6.0);

  ASSERT_NO_FATAL_FAILURE(open());
  ASSERT_NO_FATAL_FAILURE(form());  // and the next one succeeds
  expect_all("reduce BF16 4096 1 0");
}

TEST_F(NcclGroupTest, TwoRanksOnOneDeviceAreRefused) {
  SKIP_BELOW(1);
  start(2);
  ASSERT_NO_FATAL_FAILURE(open("auto", 1));

  for (size_t r = 0; r < 2; ++r) {
    ranks_[r].say(form_line(r, 3000));
    EXPECT_EQ(ranks_[r].hear(),
              "error INVALID_ARGUMENT: group of epoch 7: ranks 0 and 1 have the same device; "
              "expected one for each");
  }
}

}  // namespace
}  // namespace mimo::parallel
