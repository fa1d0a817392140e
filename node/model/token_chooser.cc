#include "node/model/token_chooser.h"

#include <algorithm>
#include <string>
#include <utility>

namespace mimo::node {
namespace {

using kernels::DrawResult;
using kernels::kTopLogprobsMax;
using kernels::TokenLogprob;

bool full_wanted(const RowTask& task) { return kernels::wants_full(task.num_logprobs); }

// Tasks that one call can do.
bool same_call(const RowTask& a, const RowTask& b) {
  if (a.draw != b.draw || full_wanted(a) != full_wanted(b)) return false;
  // What a score asks for belongs to its sequence.
  return a.draw || a.output == b.output;
}

// The draws first, those that want every token behind the others.
int32_t call_order(const RowTask& task) {
  if (!task.draw) return 2;
  return full_wanted(task) ? 1 : 0;
}

// The calls of results [begin, end).
void add_calls(ChoiceWork& work, int32_t begin, int32_t end) {
  for (int32_t at = begin; at < end;) {
    const RowTask& first = work.tasks[at];
    ChoiceWork::Call call{at, 0, full_wanted(first)};
    const int32_t most = call.full ? kFullRows : end - at;
    while (at < end && call.count < most && same_call(first, work.tasks[at])) {
      ++call.count;
      ++at;
    }
    work.calls.push_back(call);
  }
}

}  // namespace

Result<std::unique_ptr<TokenChooser>> TokenChooser::create(Model& model, int32_t vocab_limit,
                                                           int32_t num_copies) {
  std::unique_ptr<TokenChooser> chooser(new TokenChooser(model, vocab_limit));
  TRY(chooser->allocate(num_copies));
  return chooser;
}

// Results and their candidates lie one behind the other, so that one copy brings both.
Result<void> TokenChooser::allocate(int32_t num_copies) {
  const StepBufferSizes sizes = model_.buffer_sizes();
  const int64_t rows = model_.rows_max();
  CHECK_EQ(sizes.results, rows * static_cast<int64_t>(sizeof(DrawResult) +
                                                      kTopLogprobsMax * sizeof(TokenLogprob)));
  kernels::Ops& ops = model_.ops();
  TRY_ASSIGN(void* const results, ops.allocate(sizes.results, kernels::Purpose::kWorkspace));
  results_ = static_cast<DrawResult*>(results);
  top_ = reinterpret_cast<TokenLogprob*>(results_ + rows);
  TRY_ASSIGN(void* const full, ops.allocate(sizes.full_rows, kernels::Purpose::kWorkspace));
  full_ = static_cast<float*>(full);
  for (int32_t i = 0; i < num_copies; ++i) {
    TRY_ASSIGN(void* const host, ops.allocate_host(sizes.results));
    auto* const host_results = static_cast<DrawResult*>(host);
    copies_.push_back({host_results, reinterpret_cast<TokenLogprob*>(host_results + rows)});
  }
  return {};
}

ChoiceWork TokenChooser::lay_out(std::span<const RowTask> tasks, IndexBuffer& indices) {
  ChoiceWork work;
  work.tasks.assign(tasks.begin(), tasks.end());
  const auto num_tasks = static_cast<int32_t>(tasks.size());
  CHECK_LE(num_tasks, model_.rows_max());
  const int32_t rows_max = model_.options().limits.logits_rows_max;
  std::vector<int32_t> rows;
  std::vector<int32_t> pass_rows;
  std::vector<int32_t> seconds;
  std::vector<int32_t> positions;
  std::vector<int32_t> mask_rows;
  for (int32_t begin = 0; begin < num_tasks; begin += rows_max) {
    const int32_t end = std::min(num_tasks, begin + rows_max);
    std::stable_sort(
        work.tasks.begin() + begin, work.tasks.begin() + end,
        [](const RowTask& a, const RowTask& b) { return call_order(a) < call_order(b); });
    add_calls(work, begin, end);
    work.passes.push_back({begin, end - begin, static_cast<int32_t>(work.calls.size())});
    for (int32_t i = begin; i < end; ++i) pass_rows.push_back(i - begin);
  }
  for (const RowTask& task : work.tasks) {
    rows.push_back(task.row);
    seconds.push_back(task.draw ? task.slot : task.token);
    positions.push_back(task.position);
    const auto num_masked = static_cast<int32_t>(work.masked.size());
    mask_rows.push_back(task.tenant >= 0 ? num_masked : -1);
    if (task.tenant >= 0) work.masked.push_back(static_cast<int32_t>(rows.size()) - 1);
    work.plain_greedy = work.plain_greedy && (!task.draw || task.plain_greedy);
    work.lists = work.lists || (task.num_logprobs > 0 && !full_wanted(task));
  }
  work.rows = indices.add(rows);
  work.pass_rows = indices.add(pass_rows);
  work.seconds = indices.add(seconds);
  work.positions = indices.add(positions);
  if (!work.masked.empty()) work.mask_rows = indices.add(mask_rows);
  return work;
}

Result<void> TokenChooser::queue(ChoiceWork& work, parallel::TpGroup& group) {
  size_t at = 0;
  for (const ChoiceWork::Pass& pass : work.passes) {
    TRY_ASSIGN(const Logits logits, model_.logits(work.rows + pass.begin, pass.num_rows, group));
    for (; at < static_cast<size_t>(pass.call_end); ++at) {
      const ChoiceWork::Call& call = work.calls[at];
      if (work.tasks[call.begin].draw) {
        sample(logits, work, call);
      } else {
        score(logits, work, call);
      }
      if (!call.full) continue;
      const size_t begin = work.full.size();
      work.full.resize(begin + static_cast<size_t>(call.count) * vocab_limit_);
      model_.ops().download(work.full.data() + begin, full_,
                            int64_t{call.count} * vocab_limit_ * int64_t{sizeof(float)});
    }
  }
  return {};
}

void TokenChooser::sample(const Logits& logits, const ChoiceWork& work,
                          const ChoiceWork::Call& call) {
  // Where all are greedy no candidates are wanted; else they may be, whoever asks for them now: a
  // recorded step must not depend on it.
  const bool lists = !work.plain_greedy;
  const bool masked = !work.masked.empty();
  CHECK(!masked || work.masks != nullptr);
  model_.ops().sample({.logits = logits.values,
                       .num_shards = logits.num_shards,
                       .shard_cols = logits.shard_cols,
                       .vocab_limit = vocab_limit_,
                       .num_rows = logits.num_rows,
                       .rows = work.pass_rows + call.begin,
                       .slots = work.seconds + call.begin,
                       .positions = work.positions + call.begin,
                       .num_draws = call.count,
                       .plain_greedy = work.plain_greedy,
                       .last_tokens = model_.last_tokens(),
                       .results = results_ + call.begin,
                       .top = lists ? top_ + int64_t{call.begin} * kTopLogprobsMax : nullptr,
                       .top_max = lists ? kTopLogprobsMax : 0,
                       .full = call.full ? full_ : nullptr,
                       .masks = work.masks,
                       .mask_rows = masked ? work.mask_rows + call.begin : nullptr});
}

void TokenChooser::score(const Logits& logits, const ChoiceWork& work,
                         const ChoiceWork::Call& call) {
  const RowTask& first = work.tasks[call.begin];
  model_.ops().score({.logits = logits.values,
                      .num_shards = logits.num_shards,
                      .shard_cols = logits.shard_cols,
                      .vocab_limit = vocab_limit_,
                      .num_rows = logits.num_rows,
                      .rows = work.pass_rows + call.begin,
                      .tokens = work.seconds + call.begin,
                      .num_scores = call.count,
                      .num_logprobs = first.num_logprobs,
                      .raw_logits = first.raw_logits,
                      .results = results_ + call.begin,
                      .top = top_ + int64_t{call.begin} * kTopLogprobsMax,
                      .top_max = kTopLogprobsMax,
                      .full = call.full ? full_ : nullptr});
}

void TokenChooser::download(const ChoiceWork& work, int32_t copy) {
  const Copy& to = copies_[copy];
  const auto count = static_cast<int64_t>(work.tasks.size());
  if (count == 0) return;
  kernels::Ops& ops = model_.ops();
  ops.download_later(to.results, results_, count * int64_t{sizeof(DrawResult)});
  if (!work.lists) return;
  ops.download_later(to.top, top_, count * kTopLogprobsMax * int64_t{sizeof(TokenLogprob)});
}

Result<void> TokenChooser::take(const ChoiceWork& work, int32_t copy,
                                std::vector<SlotOutput>& outputs) const {
  const Copy& from = copies_[copy];
  const float* full = work.full.data();
  for (const ChoiceWork::Call& call : work.calls) {
    for (int32_t i = call.begin; i < call.begin + call.count; ++i) {
      const RowTask& task = work.tasks[i];
      if (task.output < 0) continue;
      const DrawResult& result = from.results[i];
      if (task.draw && (result.id < -1 || result.id >= vocab_limit_)) {
        return internal_error("slot " + std::to_string(task.slot) + " drew token " +
                              std::to_string(result.id) + ", expected -1 to " +
                              std::to_string(vocab_limit_ - 1));
      }
      const auto vocab = static_cast<size_t>(vocab_limit_);
      const std::span<const float> row(full, call.full ? vocab : 0);
      if (call.full) full += vocab;
      const int32_t listed =
          call.full ? task.num_logprobs : std::min(task.num_logprobs, vocab_limit_);
      kernels::TokenChoice choice = kernels::make_choice(
          result, listed, {from.top + int64_t{i} * kTopLogprobsMax, size_t{kTopLogprobsMax}}, row);
      SlotOutput& output = outputs[task.output];
      if (task.draw) {
        output.drew = true;
        output.choice = std::move(choice);
      } else {
        output.prompt_scores.push_back(std::move(choice));
      }
    }
  }
  return {};
}

}  // namespace mimo::node
