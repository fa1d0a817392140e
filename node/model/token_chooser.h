#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "node/engine/step_plan.h"
#include "node/model/index_buffer.h"
#include "node/model/model.h"
#include "parallel/tp_group.h"

namespace mimo::node {

// What one row's logits are wanted for: a draw, or the score of a known token.
struct RowTask {
  int32_t row = 0;     // of the forward pass
  int32_t output = 0;  // index of the SlotOutput that gets the answer; -1: padding
  bool draw = false;
  int32_t slot = -1;          // a draw's; -1: padding
  int32_t position = 0;       // a draw's: where the drawn token will stand
  int64_t tenant = -1;        // a draw's under a constraint: whose, see TokenMasks
  bool plain_greedy = false;  // a draw's: see kernels::SampleParams
  int32_t token = 0;          // a score's: the token that stands after the row
  int32_t num_logprobs = -1;  // as the slot's sampler has it, or the score's
  bool raw_logits = false;    // a score's
};

// The draws and scores of one step, laid out: passes through the head, each with its calls of
// sample and score. Result i belongs to tasks[i].
struct ChoiceWork {
  struct Pass {
    int32_t begin = 0;  // results [begin, begin + num_rows)
    int32_t num_rows = 0;
    int32_t call_end = 0;  // its calls end there
  };
  struct Call {
    int32_t begin = 0;  // results [begin, begin + count)
    int32_t count = 0;
    bool full = false;  // every token's log-probability is wanted of each
  };
  std::vector<RowTask> tasks;
  std::vector<Pass> passes;
  std::vector<Call> calls;
  bool plain_greedy = true;     // all draws are
  bool lists = false;           // some row's candidates are wanted
  std::vector<int32_t> masked;  // the tasks under a constraint; their masks stand in this order
  // In the backend's memory, one entry a result.
  const int32_t* rows = nullptr;       // of the forward pass
  const int32_t* pass_rows = nullptr;  // of the pass's logits
  const int32_t* seconds = nullptr;    // slots, or tokens
  const int32_t* positions = nullptr;
  const int32_t* mask_rows = nullptr;  // null: no task has a mask
  const uint32_t* masks = nullptr;     // set before queue() where there are masked tasks
  // [results of full calls, vocab_limit], in the order of the calls
  std::vector<float> full;
};

// Head, draws and scores for the rows of a forward pass, in passes of at most
// limits.logits_rows_max rows. In a step: lay_out(), queue(), download(); when it is done, take().
//
// Thread:    one.
// Lifetime:  `model` outlives it.
class TokenChooser {
 public:
  // Ids from `vocab_limit` on are never drawn, and no score is of one. `num_copies` steps may be
  // out at once.
  static Result<std::unique_ptr<TokenChooser>> create(Model& model, int32_t vocab_limit,
                                                      int32_t num_copies);

  // One output's tasks stand together in `tasks`.
  ChoiceWork lay_out(std::span<const RowTask> tasks, IndexBuffer& indices);
  // Waits for the device where a call is full.
  Result<void> queue(ChoiceWork& work, parallel::TpGroup& group);
  void download(const ChoiceWork& work, int32_t copy);
  // Fills `choice` of the outputs whose row drew, and appends to prompt_scores of the others, in
  // the order of the tasks. kInternal where the backend answers an id that there is not.
  Result<void> take(const ChoiceWork& work, int32_t copy, std::vector<SlotOutput>& outputs) const;

 private:
  struct Copy {
    kernels::DrawResult* results = nullptr;  // [rows_max]
    kernels::TokenLogprob* top = nullptr;    // [rows_max, kTopLogprobsMax]
  };

  TokenChooser(Model& model, int32_t vocab_limit) : model_(model), vocab_limit_(vocab_limit) {}
  Result<void> allocate(int32_t num_copies);
  void sample(const Logits& logits, const ChoiceWork& work, const ChoiceWork::Call& call);
  void score(const Logits& logits, const ChoiceWork& work, const ChoiceWork::Call& call);

  Model& model_;
  const int32_t vocab_limit_;
  kernels::DrawResult* results_ = nullptr;  // the backend's, as in a Copy
  kernels::TokenLogprob* top_ = nullptr;
  float* full_ = nullptr;  // [kFullRows, vocab_limit]
  std::vector<Copy> copies_;
};

}  // namespace mimo::node
