#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <vector>

#include "kvcache/kv_store.h"
#include "node/engine/engine.h"
#include "node/engine/step_executor.h"

namespace mimo::node {

// A rank whose model is a hash: the token after a prefix depends on all of the prefix, on the seed
// and on nothing else. Keeps, for each page, which token of whom was written where, and reads every
// key that attention would read back through the page tables. Like a device it works in order of
// start(); what came of a step is told by finish() alone. A draw of NaN logits is token -1. A
// constraint's text is after how many outputs its rules fail.
//
// Thread:    one.
class FakeRank final : public StepExecutor, public StepRunner {
 public:
  struct Options {
    Engine::Options engine;
    bool with_nan = false;  // some draws are of NaN logits: is_nan()
    int32_t steps_in_flight_max = 1;
  };

  explicit FakeRank(const Options& options);

  int32_t steps_in_flight_max() const override { return options_.steps_in_flight_max; }
  Result<void> start(const StepPlan& plan) override;
  bool finished() override { return true; }
  Result<StepResult> finish() override;

  int32_t num_steps_out() const { return static_cast<int32_t>(out_.size()); }
  // Rows of the step started last, by SamplingParams::seed.
  const std::map<uint64_t, int32_t>& rows() const { return rows_; }
  // Most tokens that a slot of this seed has ever known beyond its prompt.
  int32_t num_outputs(uint64_t seed) const;
  const kvcache::KvStore& store() const { return *store_; }
  int32_t num_active() const;

  static int32_t next_token(uint64_t seed, const std::vector<int32_t>& prefix, int32_t vocab);
  // Of the row at `position`.
  static bool is_nan(uint64_t seed, int32_t position);

 private:
  struct Slot {
    bool active = false;
    Admission admission;
    std::vector<int32_t> tokens;
    int32_t num_read = 0;
  };
  struct Cell {
    uint64_t seed = 0;
    int32_t position = -1;
    int32_t token = -1;
    bool operator==(const Cell&) const = default;
  };

  Result<void> apply(const StepPlan& plan);
  Result<void> change_slots(const StepPlan& plan);
  Result<std::vector<int32_t>> find_rows(const StepPlan& plan, std::vector<int32_t>& rows) const;
  Result<void> read(int32_t slot, int32_t num_rows, StepResult& result);
  Result<void> check_table(int32_t slot, int32_t num_rows, const kvcache::KvSpec& spec) const;
  Result<void> write_and_read_back(int32_t slot, int32_t num_rows, const kvcache::KvSpec& spec);
  Cell& cell(int32_t slot, int32_t position, const kvcache::KvSpec& spec);
  void score_prompt(const Slot& slot, int32_t num_rows, SlotOutput& output) const;

  const Options options_;
  std::unique_ptr<kvcache::KvStore> store_;
  std::vector<Slot> slots_;
  std::array<std::vector<Cell>, kvcache::kNumKvKinds> cells_;
  std::map<uint64_t, int32_t> rows_;
  std::map<uint64_t, int32_t> num_outputs_;
  std::deque<StepResult> out_;  // started, not finished
  int64_t next_step_ = 0;
  uint64_t plan_digest_ = 0;
  uint64_t result_digest_ = 0;
};

}  // namespace mimo::node
