#include "tests/node/engine/engine_world.h"

namespace mimo::node {

using kvcache::KvKind;
using kvcache::KvSpec;

Engine::Options small_options() {
  KvSpec spec{.kind = KvKind::kFull,
              .num_layers = 1,
              .kv_heads = 1,
              .k_dim = 2,
              .v_dim = 1,
              .page_tokens = 16};
  Engine::Options options{.epoch = Epoch{5},
                          .sequences_max = 4,
                          .waiting_max = 64,
                          .batch_tokens_max = 40,
                          .prefill_chunk_max = 16,
                          .positions_max = 200,
                          .vocab = 1000};
  options.full = spec;
  spec.kind = KvKind::kWindow;
  spec.window = 32;
  options.window = spec;
  options.full_pages = 26;
  options.window_pages = 12;
  return options;
}

SequenceRequest small_request(int64_t id) {
  SequenceRequest request;
  request.id = SequenceId{id};
  request.prompt = {1, 2, 3};
  request.sampling.seed = static_cast<uint64_t>(id);
  request.max_tokens = 20;
  return request;
}

StepResult draws(int64_t step, int32_t slot, int32_t token) {
  StepResult result{.step = step};
  SlotOutput& output = result.outputs.emplace_back();
  output.slot = SlotId{slot};
  output.drew = true;
  output.choice.id = token;
  return result;
}

Engine::Hooks Listener::hooks() {
  return {.on_events =
              [this](std::vector<SequenceEvent> events) {
                std::lock_guard lock(mutex_);
                for (const SequenceEvent& event : events) {
                  in_order = streams[event.id].add(event) && in_order;
                  if (event.finish != FinishReason::kNone) ++num_ended;
                }
                changed_.notify_all();
              },
          .on_step =
              [this](const EngineStats& stats) {
                std::lock_guard lock(mutex_);
                last = stats;
                changed_.notify_all();
              },
          .on_failure =
              [this](const Error& error) {
                std::lock_guard lock(mutex_);
                failure = error;
                ++num_failures;
                changed_.notify_all();
              }};
}

bool Listener::wait(const std::function<bool(const Listener&)>& ready) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, std::chrono::minutes(1), [&] { return ready(*this); });
}

bool Listener::wait_ended(int64_t num_sequences) {
  return wait([&](const Listener& l) { return l.num_ended >= num_sequences; });
}

}  // namespace mimo::node
