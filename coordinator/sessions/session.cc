#include "coordinator/sessions/session.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/check.h"
#include "coordinator/text/utf8.h"

namespace mimo::coordinator {
namespace {

// LeaderEvent.finish.
enum class LeaderFinish : int32_t { kNone = 0, kStop = 1, kLength = 2, kCancelled = 3, kError = 4 };

// What a TokenInfo's fields take besides its texts and candidates.
constexpr int64_t kTokenBytes = 24;

}  // namespace

Result<Session> Session::create(GenerateSpec spec, int64_t first_sequence_id,
                                const text::Tokenizer* tokenizer) {
  CHECK(!spec.prompt.empty());
  CHECK_GE(spec.num_sequences, 1);
  Session session(std::move(spec), first_sequence_id, tokenizer);
  const GenerateSpec& checked = session.spec_;
  for (int32_t i = 0; i < checked.num_sequences; ++i) {
    TRY_ASSIGN(OutputText text,
               OutputText::create(tokenizer, {checked.stop_texts, checked.include_stop,
                                              checked.include_special, checked.min_tokens}));
    session.outputs_.push_back({std::move(text)});
  }
  return session;
}

v1::Submit Session::submit(int32_t output_idx) const {
  v1::Submit submit = spec_.submit;
  submit.set_sequence_id(first_sequence_id_ + output_idx);
  submit.mutable_prompt()->Add(spec_.prompt.begin(), spec_.prompt.end());
  submit.set_seed(spec_.seed + static_cast<uint64_t>(output_idx));
  submit.set_max_tokens(spec_.max_tokens);
  // The outputs share the prompt: one of them is enough to score it.
  submit.set_num_prompt_logprobs(output_idx == 0 ? spec_.num_prompt_logprobs : -1);
  return submit;
}

void Session::start(Outbox* outbox) {
  prompt_event_.set_seed(spec_.seed);
  if (spec_.is_text)
    prompt_event_.mutable_token_ids()->Add(spec_.prompt.begin(), spec_.prompt.end());
  if (!spec_.wants_prompt_scores) return put_prompt(outbox);
  for (const int32_t id : spec_.prompt) {
    v1::TokenInfo* info = prompt_event_.add_tokens();
    info->set_token_id(id);
    info->set_token(token_text(id));
  }
  num_scored_ = 1;  // nothing comes before the first token that could have predicted it
  if (spec_.prompt.size() == 1) put_prompt(outbox);
}

void Session::put_prompt(Outbox* outbox) {
  outbox->put_prompt(std::move(prompt_event_), usage());
  prompt_put_ = true;
}

Result<void> Session::take_prompt_scores(const v1::LeaderEvent& event, Outbox* outbox) {
  const auto num_prompt = static_cast<int64_t>(spec_.prompt.size());
  const int64_t begin = event.prompt_begin();
  const int64_t end = begin + event.prompt_scores_size();
  if (begin < 1 || end > num_prompt || begin > num_scored_)
    return internal_error("the leader scored prompt tokens [" + std::to_string(begin) + ", " +
                          std::to_string(end) + ") of " + std::to_string(num_prompt) +
                          ", expected the next to be " + std::to_string(num_scored_));
  // A sequence that was put off is read again from its beginning: scores may come twice.
  for (int64_t i = std::max<int64_t>(begin, num_scored_); i < end; ++i) {
    v1::TokenInfo* info = prompt_event_.mutable_tokens(static_cast<int>(i));
    fill_token(event.prompt_scores(static_cast<int>(i - begin)), /*with_logprob=*/true, info);
    info->set_token_id(spec_.prompt[static_cast<size_t>(i)]);
  }
  num_scored_ = static_cast<int32_t>(std::max<int64_t>(num_scored_, end));
  if (num_scored_ == num_prompt) put_prompt(outbox);
  return {};
}

Result<void> Session::on_event(const v1::LeaderEvent& event, Outbox* outbox,
                               std::vector<int64_t>* cancels) {
  const int64_t offset = event.sequence_id() - first_sequence_id_;
  CHECK(offset >= 0 && offset < num_outputs());
  const auto output_idx = static_cast<int32_t>(offset);
  Output& output = outputs_[static_cast<size_t>(output_idx)];
  if (output.reason != v1::FINISH_REASON_UNSPECIFIED) return {};

  if (event.finish() == static_cast<int32_t>(LeaderFinish::kError))
    return finish_as_told(event, output_idx, outbox);
  if (event.prompt_scores_size() > 0 && !prompt_put_) TRY(take_prompt_scores(event, outbox));
  if (output_idx == 0 && event.tokens_size() > 0 && !prompt_put_)
    return internal_error("the leader drew a token with " + std::to_string(num_scored_) + " of " +
                          std::to_string(spec_.prompt.size()) + " prompt tokens scored");

  const bool ends_with_stop = event.finish() == static_cast<int32_t>(LeaderFinish::kStop);
  for (int i = 0; i < event.tokens_size(); ++i) {
    const bool is_stop_token = ends_with_stop && i + 1 == event.tokens_size();
    const auto stop_idx = take_token(event.tokens(i), output_idx, is_stop_token, outbox);
    if (!stop_idx) continue;
    if (event.finish() == static_cast<int32_t>(LeaderFinish::kNone))
      cancels->push_back(event.sequence_id());
    finish(output_idx, {v1::FINISH_REASON_STOP, stop_idx, std::nullopt, ""}, /*flush=*/false,
           outbox);
    return {};
  }
  return finish_as_told(event, output_idx, outbox);
}

Result<void> Session::finish_as_told(const v1::LeaderEvent& event, int32_t output_idx,
                                     Outbox* outbox) {
  switch (static_cast<LeaderFinish>(event.finish())) {
    case LeaderFinish::kNone:
      return {};
    case LeaderFinish::kStop: {
      Ending ending{v1::FINISH_REASON_STOP, std::nullopt, event.stop_id(), ""};
      if (is_shown_stop(event.stop_id())) ending.text = token_text(event.stop_id());
      finish(output_idx, std::move(ending), /*flush=*/true, outbox);
      return {};
    }
    case LeaderFinish::kLength:
      finish(output_idx, {v1::FINISH_REASON_LENGTH, std::nullopt, std::nullopt, ""},
             /*flush=*/true, outbox);
      return {};
    case LeaderFinish::kCancelled:
      return Error{Code::kCancelled, "the group cancelled output " + std::to_string(output_idx)};
    case LeaderFinish::kError:
      if (event.error_code() < 1 || event.error_code() > 16)
        return internal_error("the group failed output " + std::to_string(output_idx) +
                              " with code " + std::to_string(event.error_code()) + ": " +
                              event.error_message());
      return Error{static_cast<Code>(event.error_code()), event.error_message()};
  }
  return internal_error("the leader sent finish = " + std::to_string(event.finish()) +
                        ", expected 0 to 4");
}

std::optional<int32_t> Session::take_token(const v1::Choice& choice, int32_t output_idx,
                                           bool hidden, Outbox* outbox) {
  Output& output = outputs_[static_cast<size_t>(output_idx)];
  ++output.num_tokens;
  ++num_completion_tokens_;
  v1::TokenEvent& event = outbox->token_event(output_idx);
  v1::TokenInfo* info = event.add_tokens();
  info->set_token_id(choice.id());
  fill_token(choice, spec_.wants_logprobs, info);
  int64_t bytes = kTokenBytes + static_cast<int64_t>(info->token().size());
  if (spec_.wants_logprobs) bytes += static_cast<int64_t>(info->ByteSizeLong());

  std::optional<int32_t> stop_idx;
  if (!hidden) {
    OutputText::Piece piece = output.text.push(choice.id(), output.num_tokens);
    bytes += static_cast<int64_t>(piece.text.size());
    if (event.text().empty()) {
      event.set_text(std::move(piece.text));
    } else {
      event.mutable_text()->append(piece.text);
    }
    stop_idx = piece.stop_idx;
  }
  outbox->added(bytes);
  return stop_idx;
}

void Session::finish(int32_t output_idx, Ending ending, bool flush, Outbox* outbox) {
  Output& output = outputs_[static_cast<size_t>(output_idx)];
  v1::FinishedEvent event;
  if (flush) {
    OutputText::Piece held = output.text.finish(output.num_tokens);
    event.set_text(std::move(held.text));
    if (held.stop_idx) {
      ending.reason = v1::FINISH_REASON_STOP;
      ending.stop_text_idx = held.stop_idx;
      ending.text.clear();
    }
  }
  event.mutable_text()->append(ending.text);
  event.set_output_index(output_idx);
  event.set_reason(ending.reason);
  if (ending.stop_text_idx) {
    event.set_stop_text(spec_.stop_texts[static_cast<size_t>(*ending.stop_text_idx)]);
  } else if (ending.stop_token_id) {
    event.set_stop_token_id(*ending.stop_token_id);
  }
  output.reason = ending.reason;
  ++num_finished_;
  outbox->put_finished(std::move(event), usage());
}

void Session::cancel_outputs(Outbox* outbox) {
  for (int32_t i = 0; i < num_outputs(); ++i) {
    if (reason(i) != v1::FINISH_REASON_UNSPECIFIED) continue;
    finish(i, {v1::FINISH_REASON_CANCELLED, std::nullopt, std::nullopt, ""}, /*flush=*/true,
           outbox);
  }
}

std::vector<int64_t> Session::live_sequences() const {
  std::vector<int64_t> live;
  for (int32_t i = 0; i < num_outputs(); ++i)
    if (reason(i) == v1::FINISH_REASON_UNSPECIFIED) live.push_back(first_sequence_id_ + i);
  return live;
}

v1::Usage Session::usage() const {
  v1::Usage usage;
  const auto num_prompt = static_cast<int32_t>(spec_.prompt.size());
  usage.set_prompt_tokens(num_prompt);
  usage.set_completion_tokens(static_cast<int32_t>(num_completion_tokens_));
  usage.set_total_tokens(num_prompt + static_cast<int32_t>(num_completion_tokens_));
  return usage;
}

void Session::fill_token(const v1::Choice& choice, bool with_logprob, v1::TokenInfo* info) const {
  if (info->token().empty()) info->set_token(token_text(choice.id()));
  if (!with_logprob) return;
  info->set_logprob(choice.logprob());
  info->set_rank(choice.rank());
  const int num_top = choice.top_logprobs_size();
  if (!spec_.wants_all) {
    for (int i = 0; i < std::min(num_top, choice.top_ids_size()); ++i) {
      v1::Candidate* candidate = info->add_candidates();
      candidate->set_token_id(choice.top_ids(i));
      candidate->set_token(token_text(choice.top_ids(i)));
      candidate->set_logprob(choice.top_logprobs(i));
    }
    return;
  }
  // By id from 0, whether the leader names the ids or sends them in order.
  info->mutable_all()->Resize(num_top, 0.0f);
  for (int i = 0; i < num_top; ++i) {
    const int id = i < choice.top_ids_size() ? choice.top_ids(i) : i;
    if (id >= 0 && id < num_top) info->set_all(id, choice.top_logprobs(i));
  }
}

std::string Session::token_text(int32_t id) const {
  std::string lossy;
  if (tokenizer_ == nullptr) return lossy;
  text::LossyUtf8 utf8;
  utf8.push(tokenizer_->token_bytes(id), &lossy);
  utf8.finish(&lossy);
  return lossy;
}

bool Session::is_shown_stop(int32_t id) const {
  if (spec_.include_stop) return true;
  return spec_.include_special && tokenizer_ != nullptr && tokenizer_->is_special(id);
}

}  // namespace mimo::coordinator
