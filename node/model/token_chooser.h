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
  int32_t output = 0;  // index of the SlotOutput that gets the answer
  bool draw = false;
  int32_t position = 0;       // a draw's: where the drawn token will stand
  int32_t token = 0;          // a score's: the token that stands after the row
  int32_t num_logprobs = -1;  // a score's
  bool raw_logits = false;    // a score's
};

// Head, draws and scores for the rows of a forward pass, in passes of at most
// limits.logits_rows_max rows.
//
// Thread:    one.
// Lifetime:  `model` outlives it.
class TokenChooser {
 public:
  // Ids from `vocab_limit` on are never drawn, and no score is of one.
  static Result<std::unique_ptr<TokenChooser>> create(Model& model, int32_t vocab_limit);

  // Fills `choice` of the outputs whose row draws, and appends to prompt_scores of the others, in
  // the order of `tasks`, where one output's tasks stand together.
  Result<void> choose(std::span<const RowTask> tasks, std::vector<SlotOutput>& outputs,
                      parallel::TpGroup& group);

 private:
  TokenChooser(Model& model, int32_t vocab_limit) : model_(model), vocab_limit_(vocab_limit) {}
  Result<void> choose_pass(std::span<const RowTask> tasks, std::vector<SlotOutput>& outputs,
                           parallel::TpGroup& group);
  void sample(const Logits& logits, std::span<const RowTask> tasks,
              std::vector<SlotOutput>& outputs);
  void score(const Logits& logits, std::span<const RowTask> tasks,
             std::vector<SlotOutput>& outputs);

  Model& model_;
  const int32_t vocab_limit_;
  IndexBuffer indices_;
  std::vector<int32_t> rows_;
  std::vector<int32_t> seconds_;  // slots, or tokens
  std::vector<int32_t> positions_;
  std::vector<int32_t> owners_;  // the output of each draw
  std::vector<kernels::TokenChoice> choices_;
};

}  // namespace mimo::node
