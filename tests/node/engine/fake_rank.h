#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "kvcache/kv_store.h"
#include "node/engine/engine.h"
#include "node/engine/step_executor.h"

namespace mimo::node {

// A rank whose model is a hash: the token after a prefix depends on all of the prefix, on the seed
// and on nothing else. Keeps, for each page, which token of whom was written where, and reads every
// key that attention would read back through the page tables.
//
// Thread:    one.
class FakeRank final : public StepExecutor {
 public:
  struct Options {
    Engine::Options engine;
    bool with_nan = false;  // some draws are of NaN logits: is_nan()
  };

  explicit FakeRank(const Options& options);

  Result<StepResult> execute(const StepPlan& plan) override;

  // Rows of the last step, by SamplingParams::seed.
  const std::map<uint64_t, int32_t>& rows() const { return rows_; }
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
  int64_t next_step_ = 0;
  uint64_t plan_digest_ = 0;
  uint64_t result_digest_ = 0;
};

}  // namespace mimo::node
