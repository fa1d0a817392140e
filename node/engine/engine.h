#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "base/bounded_queue.h"
#include "base/clock.h"
#include "base/result.h"
#include "base/units.h"
#include "grammar/token_rules.h"
#include "kernels/ops.h"
#include "kvcache/kv_spec.h"
#include "kvcache/kv_store.h"
#include "node/engine/step_executor.h"

namespace mimo::node {

// One sequence to continue. The engine knows ids only; text, stop strings and n > 1 are the
// coordinator's.
struct SequenceRequest {
  SequenceId id;  // chosen by the caller, never used before in this engine
  std::vector<int32_t> prompt;
  kernels::SamplingParams sampling;  // its stop_ids end the sequence (unless ignore_stop_ids)
  int32_t max_tokens = 0;            // >= 1 outputs at most
  bool ignore_stop_ids = false;
  int32_t num_prompt_logprobs = -1;
  grammar::Spec constraint = {};  // checked by whoever submits: RuleSource::check()
};

enum class FinishReason : uint8_t { kNone = 0, kStop, kLength, kCancelled, kError };
const char* finish_reason_name(FinishReason reason);

// What happened to one sequence in one step. The last event of a sequence has a finish reason.
struct SequenceEvent {
  SequenceId id;
  std::vector<kernels::TokenChoice> tokens;  // drawn in this step, 0 or 1 today; MTP will draw more
  int32_t prompt_begin = 0;
  std::vector<kernels::TokenChoice> prompt_scores;
  FinishReason finish = FinishReason::kNone;
  int32_t stop_id = -1;        // the stop id drawn, when that ended it
  Error error{Code::kOk, ""};  // with kError
};

// Figures of one step, for metrics. Engine-wide counts are as of the step's end. When steps
// overlap, so do their times, all but wait_ns.
struct EngineStats {
  int64_t step = 0;
  int32_t num_running = 0;
  int32_t num_waiting = 0;
  int32_t prefill_tokens = 0;   // read in this step
  int32_t decode_tokens = 0;    // drawn in this step and told
  int64_t num_preemptions = 0;  // since start
  int64_t plan_ns = 0;          // scheduler and plan
  int64_t execute_ns = 0;       // send, run, collect: from the step's start to its result
  int64_t wait_ns = 0;          // of these, the engine waited for the result
  int64_t total_ns = 0;         // from the beginning of its planning until its events were told
  int64_t plan_bytes = 0;
  struct Pages {
    int32_t total = 0;
    int32_t free = 0;
  };
  std::array<Pages, kvcache::kNumKvKinds> pages{};  // by KvKind
};

// Continuous batching over one group: takes requests, plans steps, hands out events. Plans as many
// steps ahead as the executor takes: with one, a step's result is in before the next is planned.
//
// Thread:    submit(), announce() and abort() from any thread, also from a hook; stop() from any
// but the
//            engine's own, on which everything else happens, the hooks too.
// Lifetime:  `executor` outlives it.
// Invariant: held pages + free pages = pool, for each layer group, after every step (checked).
class Engine {
 public:
  struct Options {
    Epoch epoch;
    int32_t sequences_max = 64;       // running at once = slots
    int32_t waiting_max = 1024;       // waiting at once; more are refused
    int32_t batch_tokens_max = 2048;  // rows of a step; >= sequences_max
    int32_t prefill_chunk_max = 512;  // prompt tokens of one sequence a step
    int32_t prefill_chunk_min = 1;    // likewise, but for a prompt that has fewer
    int32_t positions_max = 0;        // prompt + outputs
    int32_t vocab = 0;                // ids are below this
    kvcache::KvSpec full = {};
    kvcache::KvSpec window = {};
    int32_t full_pages = 0;  // pool sizes, the same on all ranks
    int32_t window_pages = 0;
    bool has_full = true;  // the model has layers of this kind
    bool has_window = true;
    bool constraints = false;  // the ranks can hold outputs to one

    Result<void> validate() const;
    // kInvalidArgument names field, value and bound; also a sequence that no empty pool holds.
    // kUnimplemented: a constraint where there are none.
    Result<void> check(const SequenceRequest& request) const;
    kvcache::KvStore::Options kv() const;
  };
  struct Hooks {
    // All events of a step at once, in one call.
    std::function<void(std::vector<SequenceEvent>)> on_events;
    std::function<void(const EngineStats&)> on_step;
    // Once: the executor failed, the epoch is over, every sequence has had its kError event.
    std::function<void(const Error&)> on_failure;
  };

  static Result<std::unique_ptr<Engine>> create(const Options& options, Hooks hooks,
                                                StepExecutor& executor, const Clock& clock);
  ~Engine();  // stop()
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // kInvalidArgument: Options::check(), or the id is in use.
  // kResourceExhausted: waiting_max are waiting. kUnavailable: stopped or failed.
  Result<void> submit(SequenceRequest request);
  // A sequence with this constraint may come: every rank begins to compile it with the next plan
  // made. No more than a hint: it is dropped when there are many.
  void announce(grammar::Spec constraint);
  // The sequence ends with kCancelled and its pages are free before the next step is planned; what
  // steps that are out draw for it is dropped.
  // Unknown or finished ids are ignored.
  void abort(SequenceId id);
  // Waits for the steps that are out, ends all sequences with kError/kUnavailable and joins the
  // thread. Safe to call twice.
  void stop();

 private:
  class Impl;
  explicit Engine(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace mimo::node
