// What does a step cost the engine, beside the model? Planner and codec alone, on one thread, with
// a rank that answers at once. Prints a JSON line a case.

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <vector>

#include "base/clock.h"
#include "node/engine/step_planner.h"

namespace mimo::node {
namespace {

constexpr int32_t kRunning = 256;

struct Case {
  const char* name;
  int32_t prompt_tokens;
  int32_t output_tokens;
  int32_t num_steps;
  int32_t steps_out = 1;  // 2: each step but the first is planned before the last one's result
};

// The released model's layers on one of eight ranks, 64-token pages.
Engine::Options options_for(int32_t positions_max) {
  Engine::Options options;
  options.sequences_max = kRunning;
  options.waiting_max = 4 * kRunning;
  options.positions_max = positions_max;
  options.vocab = 152576;
  options.full = {
      .kind = kvcache::KvKind::kFull, .num_layers = 9, .kv_heads = 1, .k_dim = 192, .v_dim = 128};
  options.window = options.full;
  options.window.kind = kvcache::KvKind::kWindow;
  options.window.num_layers = 39;
  options.window.window = 128;
  options.full_pages = kRunning * options.full.pages_for(positions_max);
  options.window_pages = kRunning * 4 + options.full.pages_for(options.batch_tokens_max);
  options.validate().value();
  return options;
}

// Answers as a rank does, and draws always the same token.
class Answerer {
 public:
  StepResult answer(const StepPlan& plan) {
    StepResult result;
    result.step = plan.step;
    for (const SlotId slot : plan.releases) unread_[slot.value] = 0;
    for (const Admission& admission : plan.admissions) {
      unread_[admission.slot.value] = static_cast<int32_t>(admission.tokens.size());
    }
    std::vector<int32_t> rows(kRunning, 0);
    for (const Prefill& prefill : plan.prefills) rows[prefill.slot.value] = prefill.num_tokens;
    for (int32_t slot = 0; slot < kRunning; ++slot) {
      if (unread_[slot] == 0) continue;
      if (rows[slot] == 0) rows[slot] = unread_[slot] == 1 ? 1 : 0;
      unread_[slot] -= rows[slot];
      if (rows[slot] == 0 || unread_[slot] > 0) continue;
      SlotOutput& output = result.outputs.emplace_back();
      output.slot = SlotId{slot};
      output.drew = true;
      output.choice.id = 17;
      unread_[slot] = 1;
    }
    return result;
  }

 private:
  std::vector<int32_t> unread_ = std::vector<int32_t>(kRunning, 0);
};

double percentile(std::vector<double> values, double p) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(p * static_cast<double>(values.size() - 1))];
}

void add(StepPlanner& planner, const Case& c, int64_t id) {
  SequenceRequest request;
  request.id = SequenceId{id};
  // Lengths differ so that pages fill and sequences end in different steps.
  request.prompt.assign(c.prompt_tokens + id % 64, 5);
  request.max_tokens = c.output_tokens + static_cast<int32_t>(id % 64);
  planner.add(std::move(request));
}

bool all_decode(const StepPlan& plan, const StepResult& result) {
  return plan.prefills.empty() && result.outputs.size() == kRunning;
}

struct Samples {
  std::vector<double> plan_us, accept_us, bytes;
};

void print(const Case& c, const Samples& s) {
  std::printf(
      "{\"bench\":\"engine\",\"case\":\"%s\",\"running\":%d,\"steps\":%zu,"
      "\"plan_us_p50\":%.1f,\"plan_us_p99\":%.1f,\"accept_us_p50\":%.1f,\"accept_us_p99\":%.1f,"
      "\"plan_bytes_p50\":%.0f,\"plan_bytes_p99\":%.0f}\n",
      c.name, kRunning, s.plan_us.size(), percentile(s.plan_us, 0.5), percentile(s.plan_us, 0.99),
      percentile(s.accept_us, 0.5), percentile(s.accept_us, 0.99), percentile(s.bytes, 0.5),
      percentile(s.bytes, 0.99));
}

void run(const Case& c) {
  const SystemClock clock;
  StepPlanner planner(options_for(c.prompt_tokens + c.output_tokens + 128));
  Answerer answerer;
  Samples samples;
  std::deque<StepResult> out;
  int64_t next_id = 0;
  bool warm = false;
  while (next_id < kRunning) add(planner, c, next_id++);
  while (static_cast<int32_t>(samples.plan_us.size()) < c.num_steps) {
    const int64_t start_ns = clock.now_ns();
    const StepPlan plan = planner.plan();
    const auto bytes = encode_plan(plan);
    const int64_t planned_ns = clock.now_ns();
    out.push_back(answerer.answer(plan));
    warm = warm || all_decode(plan, out.back());
    if (static_cast<int32_t>(out.size()) < c.steps_out) continue;
    const StepResult result = std::move(out.front());
    out.pop_front();
    std::vector<SequenceEvent> events;
    const int64_t answered_ns = clock.now_ns();
    planner.accept(result, events).value();
    const int64_t accepted_ns = clock.now_ns();
    for (const SequenceEvent& event : events) {
      if (event.finish != FinishReason::kNone) add(planner, c, next_id++);
    }
    if (!warm) continue;
    samples.plan_us.push_back(static_cast<double>(planned_ns - start_ns) * 1e-3);
    samples.accept_us.push_back(static_cast<double>(accepted_ns - answered_ns) * 1e-3);
    samples.bytes.push_back(static_cast<double>(bytes.size()));
  }
  print(c, samples);
}

}  // namespace
}  // namespace mimo::node

int main() {
  // Nothing but decode: a page for some of the sequences in each step.
  mimo::node::run(
      {.name = "decode", .prompt_tokens = 256, .output_tokens = 6000, .num_steps = 5000});
  // Sequences end and others start all the time.
  mimo::node::run({.name = "churn", .prompt_tokens = 256, .output_tokens = 200, .num_steps = 5000});
  // As on a device, which works on one step while the next is planned.
  mimo::node::run({.name = "decode_ahead",
                   .prompt_tokens = 256,
                   .output_tokens = 6000,
                   .num_steps = 5000,
                   .steps_out = 2});
  mimo::node::run({.name = "churn_ahead",
                   .prompt_tokens = 256,
                   .output_tokens = 200,
                   .num_steps = 5000,
                   .steps_out = 2});
  return EXIT_SUCCESS;
}
