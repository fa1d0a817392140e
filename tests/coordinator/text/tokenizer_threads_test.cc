#include <gtest/gtest.h>

#include <latch>
#include <string>
#include <thread>
#include <vector>

#include "coordinator/text/scratch_pool.h"
#include "coordinator/text/tokenizer.h"

namespace mimo::text {
namespace {

TEST(TokenizerThreads, AllThreadsGetTheSameIds) {
  constexpr int32_t kThreads = 8;
  const auto tokenizer = Tokenizer::load(MIMO_SOURCE_DIR "/models/tiny/tokenizer.json").value();
  std::vector<std::string> texts;
  std::vector<std::vector<int32_t>> want;
  for (int32_t i = 0; i < 50; ++i) {
    texts.push_back("The fox " + std::to_string(i * 7919) + " don't <think>e\u0301" +
                    std::string(static_cast<size_t>(i * 5), 'a') + "</think>");
    want.push_back(tokenizer->encode(texts.back()).value());
  }
  std::latch start(kThreads);
  std::vector<int32_t> num_wrong(kThreads, 0);
  std::vector<std::thread> threads;
  for (int32_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      start.arrive_and_wait();
      for (size_t i = 0; i < 20 * texts.size(); ++i) {
        const size_t at = (i + static_cast<size_t>(t)) % texts.size();
        if (tokenizer->encode(texts[at]).value() != want[at]) ++num_wrong[static_cast<size_t>(t)];
      }
    });
  }
  for (auto& thread : threads) thread.join();

  EXPECT_EQ(num_wrong, std::vector<int32_t>(kThreads, 0));
}

TEST(ScratchPool, NoTwoCallersHoldTheSameAtOnce) {
  struct Scratch {
    int32_t num_holders = 0;  // not atomic: the race detector watches it too
  };
  constexpr int32_t kThreads = 40;  // more than slots
  ScratchPool<Scratch> pool;
  std::latch start(kThreads);
  std::vector<int32_t> num_shared(kThreads, 0);
  std::vector<std::thread> threads;
  for (int32_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      start.arrive_and_wait();
      for (int32_t i = 0; i < 200; ++i) {
        auto scratch = pool.take();
        if (++scratch->num_holders != 1) ++num_shared[static_cast<size_t>(t)];
        --scratch->num_holders;
        pool.give_back(std::move(scratch));
      }
    });
  }
  for (auto& thread : threads) thread.join();

  EXPECT_EQ(num_shared, std::vector<int32_t>(kThreads, 0));
}

TEST(ScratchPool, GivesBackWhatWasUsedBefore) {
  ScratchPool<int32_t> pool;
  auto first = pool.take();
  *first = 41;
  pool.give_back(std::move(first));

  EXPECT_EQ(*pool.take(), 41);
}

}  // namespace
}  // namespace mimo::text
