// Rules of one Grammars on many threads: started, waited for, drawn from, dropped.
#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "tests/grammar/vocabulary.h"

namespace mimo::grammar {
namespace {

Spec spec_of(int32_t n) {
  switch (n % 4) {
    case 0:
      return {.kind = Spec::Kind::kChoice, .choices = {"yes", "no", std::to_string(n)}};
    case 1:
      return {.kind = Spec::Kind::kRegex, .text = "[a-z]{1," + std::to_string(n + 1) + "}"};
    case 2:
      return {.kind = Spec::Kind::kRegex, .text = "(" + std::to_string(n)};  // refused
    default:
      return {.kind = Spec::Kind::kJsonSchema, .text = "{\"const\": " + std::to_string(n) + "}"};
  }
}

// Up to 8 tokens: the first that is allowed after `skip` others.
bool draw(Grammars* grammars, const Spec& spec, int32_t skip) {
  auto rules = grammars->start(spec);
  std::vector<uint32_t> mask(static_cast<size_t>(mask_words(2048)));
  for (int32_t step = 0; step < 8; ++step) {
    if (!rules->fill(mask).ok()) return false;
    int32_t chosen = -1;
    for (int32_t id = 0, left = skip; id < 2048 && left >= 0; ++id)
      if (is_set(mask, id)) {
        chosen = id;
        --left;
      }
    if (!rules->accept(chosen).ok()) return false;
  }
  return true;
}

TEST(GrammarThreads, AnyThreadDrawsFromAnySpec) {
  Grammars::Options options;
  options.threads = 2;
  options.queue_max = 1000;
  options.cache_bytes_max = 20'000;  // so that grammars are dropped while others use them
  auto grammars = tiny_grammars(options);
  std::atomic<int32_t> drawn = 0, refused = 0;

  std::vector<std::thread> threads;
  for (int32_t t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int32_t i = 0; i < 24; ++i) ++(draw(grammars.get(), spec_of(i), t) ? drawn : refused);
    });
  for (auto& thread : threads) thread.join();

  EXPECT_EQ(drawn, 4 * 18);
  EXPECT_EQ(refused, 4 * 6);
  EXPECT_LE(grammars->stats().cached_bytes, 20'000);
}

TEST(GrammarThreads, RulesOutliveTheirSource) {
  auto grammars = tiny_grammars();
  std::vector<std::unique_ptr<TokenRules>> all;
  grammars->check(spec_of(0)).value();
  for (int32_t i = 0; i < 40; ++i) all.push_back(grammars->start(spec_of(i)));

  grammars.reset();

  std::vector<uint32_t> mask(static_cast<size_t>(mask_words(2048)));
  int32_t cancelled = 0;
  for (const auto& rules : all) {
    const auto filled = rules->fill(mask);
    if (!filled.ok() && filled.error().code == Code::kCancelled) ++cancelled;
  }
  EXPECT_LT(cancelled, 40);  // the first was compiled before
}

}  // namespace
}  // namespace mimo::grammar
