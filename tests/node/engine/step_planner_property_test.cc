#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <optional>
#include <random>

#include "node/engine/step_planner.h"
#include "tests/node/engine/fake_rank.h"
#include "tests/node/engine/lone_run.h"

namespace mimo::node {
namespace {

using kvcache::KvKind;
using kvcache::KvSpec;

// A failure names its seed; with kSeeds = 1 and kFirstSeed = that seed it comes again.
constexpr uint64_t kFirstSeed = 1;
#ifdef MIMO_PROPERTY_SEEDS
constexpr uint64_t kSeeds = MIMO_PROPERTY_SEEDS;
#else
constexpr uint64_t kSeeds = 10000;
#endif

// One world: options, steps out at once, arrivals, aborts, all from one seed.
class World {
 public:
  explicit World(uint64_t seed)
      : seed_(seed),
        random_(seed),
        with_nan_(chance(4)),
        steps_max_(pick(1, 2)),
        options_(random_options()),
        planner_(options_),
        rank_({.engine = options_, .with_nan = with_nan_, .steps_in_flight_max = steps_max_}) {}

  void run() {
    for (int32_t n = pick(1, 14); n > 0; --n) arrivals_.push_back(random_request());
    for (int32_t step = 0; !arrivals_.empty() || planner_.has_work(); ++step) {
      ASSERT_LT(step, 20000) << where() << ": no end";
      come_and_go();
      if (planner_.has_work()) start_or_finish();
      if (::testing::Test::HasFatalFailure()) return;
    }
    check_end();
  }

  int64_t num_preemptions() const { return stats().num_preemptions; }
  int64_t num_ahead() const { return num_ahead_; }

 private:
  struct Running {
    SequenceRequest request;
    Stream stream;
    bool aborted = false;
  };

  std::string where() const {
    return "seed " + std::to_string(seed_) + ", " + std::to_string(steps_max_) + " out";
  }
  int32_t pick(int32_t low, int32_t high) {
    return std::uniform_int_distribution<int32_t>(low, high)(random_);
  }
  bool chance(int32_t one_in) { return pick(1, one_in) == 1; }
  EngineStats stats() const {
    EngineStats stats;
    planner_.fill_stats(stats);
    return stats;
  }

  KvSpec random_spec(KvKind kind) {
    static constexpr int32_t kWindows[] = {1, 2, 15, 16, 17, 31, 33, 48, 100, 1000};
    return {.kind = kind,
            .num_layers = 1,
            .kv_heads = 1,
            .k_dim = 2,
            .v_dim = 1,
            .page_tokens = chance(3) ? 32 : 16,
            .window = kind == KvKind::kFull ? 0 : kWindows[pick(0, 9)]};
  }

  Engine::Options random_options() {
    Engine::Options o{.epoch = Epoch{static_cast<int64_t>(seed_)}};
    o.sequences_max = pick(1, 6);
    o.batch_tokens_max = o.sequences_max + pick(0, 40);
    o.prefill_chunk_max = pick(1, 50);
    o.positions_max = chance(2) ? pick(8, 120) : pick(100, 300);
    o.vocab = pick(3, 300);
    const int32_t kinds = pick(0, 5);  // 0: window layers only, 1: full layers only
    o.has_full = kinds != 0;
    o.has_window = kinds != 1;
    o.full = random_spec(KvKind::kFull);
    o.window = random_spec(KvKind::kWindow);
    // From just enough for one sequence to plenty.
    o.full_pages = o.full.pages_max(o.positions_max - 1) + (chance(4) ? pick(0, 30) : pick(0, 2));
    o.window_pages =
        o.window.pages_max(o.positions_max - 1) + (chance(4) ? pick(0, 30) : pick(0, 2));
    o.validate().value();
    return o;
  }

  SequenceRequest random_request() {
    SequenceRequest r;
    r.id = SequenceId{next_id_++};
    r.sampling.seed = static_cast<uint64_t>(r.id.value);
    const int32_t num_prompt = pick(1, chance(3) ? options_.positions_max - 1 : 6);
    for (int32_t i = 0; i < num_prompt; ++i) r.prompt.push_back(pick(0, options_.vocab - 1));
    r.max_tokens = pick(1, chance(3) ? 30 : 250);
    if (chance(2)) r.sampling.stop_ids = {pick(0, options_.vocab - 1)};
    r.ignore_stop_ids = chance(4);
    r.num_prompt_logprobs = chance(4) ? pick(0, 3) : -1;
    options_.check(r).value();
    return r;
  }

  void come_and_go() {
    std::vector<SequenceEvent> events;
    while (!arrivals_.empty() && chance(3)) {
      SequenceRequest request = std::move(arrivals_.back());
      arrivals_.pop_back();
      const SequenceId id = request.id;
      all_[id] = Running{.request = request, .stream = {}};
      live_.push_back(id);
      planner_.add(std::move(request));
    }
    if (!live_.empty() && chance(60)) {
      const SequenceId id = live_[pick(0, static_cast<int32_t>(live_.size()) - 1)];
      all_[id].aborted = true;
      planner_.abort(id, events);
      planner_.abort(id, events);  // the second time it is unknown
      ASSERT_EQ(events.size(), 1u) << where();
    }
    take(events);
  }

  // Mostly as far ahead as may be, as the engine does it.
  void start_or_finish() {
    const int32_t num_out = planner_.num_steps_out();
    ASSERT_EQ(num_out, rank_.num_steps_out()) << where();
    if (!planner_.can_plan() || num_out == steps_max_ || (num_out > 0 && chance(5)))
      return finish_step();
    num_ahead_ += num_out;
    start_step();
  }

  void start_step() {
    const auto going_on = oldest_that_goes_on();
    const StepPlan plan = planner_.plan();
    const auto sent = decode_plan(encode_plan(plan));
    ASSERT_TRUE(sent.ok()) << where() << ": " << sent.error().message;
    const auto started = rank_.start(sent.value());
    ASSERT_TRUE(started.ok()) << where() << ": " << started.error().message;
    // The oldest reads something in every step.
    if (going_on) {
      ASSERT_EQ(rank_.rows().count(*going_on), 1u) << where();
    }
  }

  // As a seed; not one whose last draw is out. live_ is in order of arrival.
  std::optional<uint64_t> oldest_that_goes_on() const {
    for (const SequenceId id : live_) {
      const auto seed = static_cast<uint64_t>(id.value);
      const SequenceRequest& request = all_.at(id).request;
      const auto num_prompt = static_cast<int32_t>(request.prompt.size());
      const int32_t outputs_max = std::min(request.max_tokens, options_.positions_max - num_prompt);
      if (rank_.num_outputs(seed) < outputs_max) return seed;
    }
    return std::nullopt;
  }

  void finish_step() {
    const auto result = rank_.finish();
    ASSERT_TRUE(result.ok()) << where() << ": " << result.error().message;
    std::vector<SequenceEvent> events;
    const auto accepted = planner_.accept(result.value(), events);
    ASSERT_TRUE(accepted.ok()) << where() << ": " << accepted.error().message;
    take(events);
  }

  void take(const std::vector<SequenceEvent>& events) {
    for (const SequenceEvent& event : events) {
      ASSERT_TRUE(all_.at(event.id).stream.add(event)) << where();
      if (event.finish != FinishReason::kNone) std::erase(live_, event.id);
    }
  }

  void check_end() {
    ASSERT_TRUE(live_.empty()) << where();
    for (const auto& [id, running] : all_) check_stream(running);
    ASSERT_EQ(rank_.num_active(), 0) << where();
    for (const auto& pages : stats().pages) ASSERT_EQ(pages.free, pages.total) << where();
    for (const KvKind kind : {KvKind::kFull, KvKind::kWindow}) {
      ASSERT_EQ(rank_.store().bytes(kind, kvcache::KvPlane::kK, kvcache::PageState::kActive), 0)
          << where();
    }
  }

  void check_stream(const Running& running) {
    const LoneRun lone = lone_run(running.request, options_, with_nan_);
    const Stream& stream = running.stream;
    const std::string who = where() + " sequence " + std::to_string(running.request.id.value);
    ASSERT_LE(rank_.num_outputs(running.request.sampling.seed), running.request.max_tokens) << who;
    if (running.aborted) {
      ASSERT_EQ(stream.finish, FinishReason::kCancelled) << who;
      ASSERT_LE(stream.tokens.size(), lone.tokens.size()) << who;
      ASSERT_TRUE(std::equal(stream.tokens.begin(), stream.tokens.end(), lone.tokens.begin()))
          << who;
      return;
    }
    ASSERT_EQ(stream.finish, lone.finish) << who << " " << stream.error.message;
    ASSERT_EQ(stream.stop_id, lone.stop_id) << who;
    ASSERT_EQ(stream.tokens, lone.tokens) << who;
    if (running.request.num_prompt_logprobs == -1) {
      ASSERT_TRUE(stream.prompt_scores.empty()) << who;
      return;
    }
    const std::vector<int32_t> want(running.request.prompt.begin() + 1,
                                    running.request.prompt.end());
    ASSERT_EQ(stream.prompt_scores, want) << who;
  }

  const uint64_t seed_;
  std::mt19937_64 random_;
  const bool with_nan_;
  const int32_t steps_max_;
  const Engine::Options options_;
  StepPlanner planner_;
  FakeRank rank_;
  std::vector<SequenceRequest> arrivals_;
  std::map<SequenceId, Running> all_;
  std::vector<SequenceId> live_;  // in order of arrival
  int64_t next_id_ = 0;
  int64_t num_ahead_ = 0;  // steps planned while another was out
};

TEST(StepPlannerProperty, EveryStreamIsItsLoneRunAndEveryPageComesBack) {
  int64_t num_preemptions = 0, num_ahead = 0;
  for (uint64_t seed = kFirstSeed; seed < kFirstSeed + kSeeds; ++seed) {
    World world(seed);
    world.run();
    if (HasFatalFailure()) return;
    num_preemptions += world.num_preemptions();
    num_ahead += world.num_ahead();
  }
  std::printf("%llu seeds from %llu on, %lld preemptions, %lld steps planned ahead\n",
              static_cast<unsigned long long>(kSeeds), static_cast<unsigned long long>(kFirstSeed),
              static_cast<long long>(num_preemptions), static_cast<long long>(num_ahead));
  EXPECT_GT(num_preemptions, static_cast<int64_t>(kSeeds) / 8);
  EXPECT_GT(num_ahead, static_cast<int64_t>(kSeeds) * 10);
}

}  // namespace
}  // namespace mimo::node
