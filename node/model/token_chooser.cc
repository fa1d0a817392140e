#include "node/model/token_chooser.h"

#include <algorithm>
#include <utility>

namespace mimo::node {

Result<std::unique_ptr<TokenChooser>> TokenChooser::create(Model& model, int32_t vocab_limit) {
  std::unique_ptr<TokenChooser> chooser(new TokenChooser(model, vocab_limit));
  const int64_t rows = model.options().limits.logits_rows_max;
  TRY(chooser->indices_.allocate(model.ops(), IndexBuffer::bytes_for({rows, rows, rows})));
  return chooser;
}

Result<void> TokenChooser::choose(std::span<const RowTask> tasks, std::vector<SlotOutput>& outputs,
                                  parallel::TpGroup& group) {
  const auto rows_max = static_cast<size_t>(model_.options().limits.logits_rows_max);
  for (size_t begin = 0; begin < tasks.size(); begin += rows_max) {
    const size_t count = std::min(rows_max, tasks.size() - begin);
    TRY(choose_pass(tasks.subspan(begin, count), outputs, group));
  }
  return {};
}

Result<void> TokenChooser::choose_pass(std::span<const RowTask> tasks,
                                       std::vector<SlotOutput>& outputs, parallel::TpGroup& group) {
  rows_.clear();
  for (const RowTask& task : tasks) rows_.push_back(task.row);
  TRY_ASSIGN(const Logits logits, model_.logits(rows_, group));
  sample(logits, tasks, outputs);
  score(logits, tasks, outputs);
  return {};
}

void TokenChooser::sample(const Logits& logits, std::span<const RowTask> tasks,
                          std::vector<SlotOutput>& outputs) {
  rows_.clear();
  seconds_.clear();
  positions_.clear();
  owners_.clear();
  for (size_t i = 0; i < tasks.size(); ++i) {
    if (!tasks[i].draw) continue;
    rows_.push_back(static_cast<int32_t>(i));
    seconds_.push_back(outputs[tasks[i].output].slot.value);
    positions_.push_back(tasks[i].position);
    owners_.push_back(tasks[i].output);
  }
  if (rows_.empty()) return;
  indices_.clear();
  kernels::SampleParams p;
  p.logits = logits.values;
  p.num_shards = logits.num_shards;
  p.shard_cols = logits.shard_cols;
  p.vocab_limit = vocab_limit_;
  p.num_rows = logits.num_rows;
  p.rows = indices_.add(rows_);
  p.slots = indices_.add(seconds_);
  p.positions = indices_.add(positions_);
  p.num_draws = static_cast<int32_t>(rows_.size());
  indices_.upload();
  choices_.assign(rows_.size(), {});
  p.out = choices_.data();
  model_.ops().sample(p);
  for (size_t i = 0; i < owners_.size(); ++i) {
    SlotOutput& output = outputs[owners_[i]];
    output.drew = true;
    output.choice = std::move(choices_[i]);
  }
}

void TokenChooser::score(const Logits& logits, std::span<const RowTask> tasks,
                         std::vector<SlotOutput>& outputs) {
  rows_.clear();
  seconds_.clear();
  for (size_t i = 0; i < tasks.size(); ++i) {
    if (tasks[i].draw) continue;
    rows_.push_back(static_cast<int32_t>(i));
    seconds_.push_back(tasks[i].token);
  }
  if (rows_.empty()) return;
  indices_.clear();
  const int32_t* const rows = indices_.add(rows_);
  const int32_t* const tokens = indices_.add(seconds_);
  indices_.upload();
  // One call for each output: what is asked for belongs to the sequence.
  const auto num_scores = static_cast<int32_t>(rows_.size());
  for (int32_t begin = 0, end = 0; begin < num_scores; begin = end) {
    const RowTask& first = tasks[rows_[begin]];
    while (end < num_scores && tasks[rows_[end]].output == first.output) ++end;
    choices_.assign(static_cast<size_t>(end - begin), {});
    model_.ops().score({.logits = logits.values,
                        .num_shards = logits.num_shards,
                        .shard_cols = logits.shard_cols,
                        .vocab_limit = vocab_limit_,
                        .num_rows = logits.num_rows,
                        .rows = rows + begin,
                        .tokens = tokens + begin,
                        .num_scores = end - begin,
                        .num_logprobs = first.num_logprobs,
                        .raw_logits = first.raw_logits,
                        .out = choices_.data()});
    auto& scores = outputs[first.output].prompt_scores;
    std::move(choices_.begin(), choices_.end(), std::back_inserter(scores));
  }
}

}  // namespace mimo::node
