#include "node/engine/sequence.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace mimo::node {
namespace {

Error unexpected(SequenceId id, const std::string& what) {
  return internal_error("sequence " + std::to_string(id.value) + ": the step's result " + what);
}

}  // namespace

Sequence::Sequence(SequenceRequest request, int32_t positions_max)
    : request_(std::move(request)),
      tokens_(std::move(request_.prompt)),
      num_prompt_(static_cast<int32_t>(tokens_.size())),
      positions_max_(positions_max) {}

bool Sequence::at_length(int32_t num_tokens) const {
  return num_tokens - num_prompt_ >= request_.max_tokens || num_tokens >= positions_max_;
}

Admission Sequence::admission(SlotId to) const {
  CHECK_EQ(num_drawing_, 0);
  const bool scored = next_prompt_score_ >= num_prompt_;
  return {.slot = to,
          .sampling = request_.sampling,
          .tokens = tokens_,
          .num_prompt = num_prompt_,
          .num_prompt_logprobs = scored ? -1 : request_.num_prompt_logprobs,
          .constraint = request_.constraint};
}

bool Sequence::plan_rows(int32_t num_rows) {
  num_read_ += num_rows;
  CHECK_LE(num_read_, num_known());
  if (num_read_ < num_known()) return false;
  ++num_drawing_;
  return true;
}

Result<bool> Sequence::accept(bool drew, const SlotOutput* output, int32_t vocab,
                              SequenceEvent& event) {
  if (drew) --num_drawing_;
  event.id = id();
  if (output == nullptr) return false;
  if (!output->prompt_scores.empty()) TRY(take_prompt_scores(*output, event));
  if (drew && !finished_) {
    const kernels::TokenChoice& choice = output->choice;
    if (choice.finite && (choice.id < 0 || choice.id >= vocab))
      return unexpected(id(), "drew token " + std::to_string(choice.id) + ", expected 0 to " +
                                  std::to_string(vocab - 1));
    if (output->rules_error.code == Code::kOk) {
      draw(choice, event);
    } else {
      end_with(output->rules_error.with_context("constraint"), event);
    }
  }
  return drew || !event.prompt_scores.empty() || finished_;
}

Result<void> Sequence::take_prompt_scores(const SlotOutput& output, SequenceEvent& event) {
  const int64_t begin = output.prompt_begin;
  const int64_t end = begin + static_cast<int64_t>(output.prompt_scores.size());
  if (request_.num_prompt_logprobs == -1 || begin < 1 || begin > next_prompt_score_ ||
      end > num_prompt_)
    return unexpected(id(), "scores prompt tokens " + std::to_string(begin) + " to " +
                                std::to_string(end - 1) + ", expected from " +
                                std::to_string(next_prompt_score_) + " on");
  // After a preemption the first ones come a second time.
  const int64_t skip = std::min(end, int64_t{next_prompt_score_}) - begin;
  event.prompt_begin = static_cast<int32_t>(begin + skip);
  event.prompt_scores.assign(output.prompt_scores.begin() + skip, output.prompt_scores.end());
  next_prompt_score_ = std::max(next_prompt_score_, static_cast<int32_t>(end));
  const auto bad = std::find_if(event.prompt_scores.begin(), event.prompt_scores.end(),
                                [](const kernels::TokenChoice& score) { return !score.finite; });
  if (bad == event.prompt_scores.end()) return {};
  const auto at = static_cast<int32_t>(bad - event.prompt_scores.begin());
  event.prompt_scores.clear();
  end_non_finite(event.prompt_begin + at - 1, event);
  return {};
}

void Sequence::end_non_finite(int32_t position, SequenceEvent& event) {
  end_with(internal_error("non-finite logits at position " + std::to_string(position)), event);
}

void Sequence::end_with(Error error, SequenceEvent& event) {
  finished_ = true;
  event.finish = FinishReason::kError;
  event.error = std::move(error);
}

void Sequence::draw(const kernels::TokenChoice& choice, SequenceEvent& event) {
  if (!choice.finite) return end_non_finite(num_told() - 1, event);
  tokens_.push_back(choice.id);
  event.tokens.push_back(choice);
  const auto& stops = request_.sampling.stop_ids;
  if (!request_.ignore_stop_ids &&
      std::find(stops.begin(), stops.end(), choice.id) != stops.end()) {
    event.finish = FinishReason::kStop;
    event.stop_id = choice.id;
  } else if (at_length(num_told())) {
    event.finish = FinishReason::kLength;
  }
  finished_ = event.finish != FinishReason::kNone;
}

SequenceEvent Sequence::finish(FinishReason reason, Error error) {
  finished_ = true;
  SequenceEvent event;
  event.id = id();
  event.finish = reason;
  event.error = std::move(error);
  return event;
}

}  // namespace mimo::node
