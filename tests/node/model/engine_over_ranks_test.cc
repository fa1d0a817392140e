#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <random>

#include "harness.h"
#include "node/engine/engine.h"

namespace mimo::node::model_test {
namespace {

constexpr int32_t kNumSequences = kSanitized ? 20 : 64;
constexpr uint32_t kSeed = 20240607;

class ClusterExecutor final : public StepExecutor {
 public:
  explicit ClusterExecutor(Cluster& cluster) : cluster_(cluster) {}
  Result<StepResult> execute(const StepPlan& plan) override { return cluster_.run(plan); }

 private:
  Cluster& cluster_;
};

// What the engine has said of each sequence; the hooks write, the test waits.
struct Outcome {
  std::mutex mutex;  // a table that two threads look into
  std::condition_variable changed;
  std::vector<std::vector<int32_t>> tokens = std::vector<std::vector<int32_t>>(kNumSequences);
  std::vector<FinishReason> finish = std::vector<FinishReason>(kNumSequences, FinishReason::kNone);
  int32_t num_finished = 0;
  EngineStats last;
};

struct Job {
  Sequence sequence;
  int32_t cancel_after = -1;  // outputs; -1: never
};

// Prompts of 1 to 80 tokens, 1 to 100 outputs; every third is cancelled on the way.
std::vector<Job> random_jobs() {
  std::mt19937 random(kSeed);
  const auto between = [&](int32_t low, int32_t high) {
    return std::uniform_int_distribution<int32_t>(low, high)(random);
  };
  std::vector<Job> jobs(kNumSequences);
  for (int32_t i = 0; i < kNumSequences; ++i) {
    Sequence& sequence = jobs[i].sequence;
    sequence.prompt.resize(between(1, 80));
    for (int32_t& id : sequence.prompt) id = between(0, 191);
    sequence.num_outputs = between(1, 100);
    sequence.sampling.temperature = 1.0f;
    sequence.sampling.top_p = 0.9f;
    sequence.sampling.presence_penalty = 0.5f;
    sequence.sampling.seed = random();
    if (i % 3 == 2) jobs[i].cancel_after = between(0, sequence.num_outputs - 1);
  }
  return jobs;
}

Engine::Options engine_options(const Cluster& cluster) {
  const ModelLimits& limits = cluster.options().limits;
  Engine::Options options;
  options.epoch = cluster.epoch();
  options.sequences_max = limits.sequences_max;
  options.waiting_max = kNumSequences;
  options.batch_tokens_max = limits.tokens_max;
  options.prefill_chunk_max = limits.prefill_chunk_max;
  options.positions_max = limits.positions_max;
  options.vocab = cluster.config().vocab;
  options.full = cluster.specs()[0];
  options.window = cluster.specs()[1];
  options.full_pages = cluster.options().num_pages[0];
  options.window_pages = cluster.options().num_pages[1];
  return options;
}

std::unique_ptr<Cluster> crowded_cluster() {
  ModelLimits limits = test_limits(16);
  limits.tokens_max = 96;
  limits.prefill_chunk_max = 48;
  limits.sequences_max = 12;
  limits.positions_max = 192;
  // A quarter of what 12 sequences of full length would need.
  return Cluster::create(checkpoint_folder("bf16-small-window"),
                         {.tp = 2, .limits = limits, .num_pages = {36, 40}})
      .value();
}

void note_events(Outcome& outcome, const std::vector<Job>& jobs, Engine* engine,
                 const std::vector<SequenceEvent>& events) {
  std::lock_guard lock(outcome.mutex);
  for (const SequenceEvent& event : events) {
    const auto i = static_cast<size_t>(event.id.value);
    for (const kernels::TokenChoice& choice : event.tokens) {
      outcome.tokens[i].push_back(choice.id);
    }
    if (event.finish != FinishReason::kNone) {
      outcome.finish[i] = event.finish;
      ++outcome.num_finished;
    } else if (jobs[i].cancel_after >= 0 &&
               static_cast<int32_t>(outcome.tokens[i].size()) >= jobs[i].cancel_after) {
      engine->abort(event.id);
    }
  }
  outcome.changed.notify_all();
}

TEST(EngineOverRanks, CrowdedSequencesWithCancelsEqualTheirLoneRuns) {
  RecordProperty("seed", std::to_string(kSeed));
  const std::vector<Job> jobs = random_jobs();
  auto cluster = crowded_cluster();
  ClusterExecutor executor(*cluster);
  const SystemClock clock;
  Outcome outcome;
  std::unique_ptr<Engine> engine;
  Engine::Hooks hooks;
  hooks.on_events = [&](const std::vector<SequenceEvent>& events) {
    note_events(outcome, jobs, engine.get(), events);
  };
  hooks.on_step = [&](const EngineStats& stats) {
    std::lock_guard lock(outcome.mutex);
    outcome.last = stats;
    outcome.changed.notify_all();
  };
  hooks.on_failure = [](const Error& error) { ADD_FAILURE() << error.to_string(); };
  engine = Engine::create(engine_options(*cluster), hooks, executor, clock).value();

  for (int32_t i = 0; i < kNumSequences; ++i) {
    const Sequence& sequence = jobs[i].sequence;
    ASSERT_TRUE(engine
                    ->submit({.id = SequenceId{i},
                              .prompt = sequence.prompt,
                              .sampling = sequence.sampling,
                              .max_tokens = sequence.num_outputs})
                    .ok());
  }
  {
    std::unique_lock lock(outcome.mutex);
    ASSERT_TRUE(outcome.changed.wait_for(
        lock, std::chrono::seconds(100),
        [&] { return outcome.num_finished == kNumSequences && outcome.last.num_running == 0; }))
        << outcome.num_finished << " finished";
  }
  engine->stop();

  EXPECT_GT(outcome.last.num_preemptions, 0);  // the pool was too small for all
  EXPECT_EQ(outcome.last.pages[0].free, 36);
  EXPECT_EQ(outcome.last.pages[1].free, 40);
  for (int32_t i = 0; i < kNumSequences; ++i) {
    std::vector<Sequence> alone = {jobs[i].sequence};
    generate(*cluster, alone, 64);
    std::vector<int32_t> expected = alone[0].output_ids();
    if (jobs[i].cancel_after < 0) {
      EXPECT_EQ(outcome.finish[i], FinishReason::kLength) << i;
    } else {
      ASSERT_LE(outcome.tokens[i].size(), expected.size());
      expected.resize(outcome.tokens[i].size());
    }
    EXPECT_EQ(outcome.tokens[i], expected) << "sequence " << i;
  }
}

}  // namespace
}  // namespace mimo::node::model_test
