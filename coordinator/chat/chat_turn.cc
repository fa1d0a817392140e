#include "coordinator/chat/chat_turn.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <span>
#include <string>
#include <utility>

#include "base/hash.h"
#include "coordinator/chat/conversation.h"
#include "coordinator/chat/prompter.h"
#include "coordinator/chat/reply_constraint.h"
#include "coordinator/chat/reply_parser.h"
#include "coordinator/chat/thought_counter.h"

namespace mimo::chat {
namespace {

// One output's way through its parsers.
struct Output {
  Output(ReplyStart start, const ToolSet& tools, bool one_call)
      : parser(start, tools, one_call), thoughts(start) {}

  ReplyParser parser;
  ThoughtCounter thoughts;
  int32_t num_calls = 0;
  // Since the last delta.
  int32_t num_tokens = 0;
  std::vector<v1::TokenInfo> tokens;
};

uint64_t hash_text(const std::string& text) {
  return hash_bytes({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

v1::ChatFinished::Reason reason_of(v1::FinishReason reason, bool has_calls) {
  switch (reason) {
    case v1::FINISH_REASON_STOP:
      return has_calls ? v1::ChatFinished::TOOL_CALLS : v1::ChatFinished::STOP;
    case v1::FINISH_REASON_LENGTH:
      return v1::ChatFinished::LENGTH;
    case v1::FINISH_REASON_CANCELLED:
      return v1::ChatFinished::CANCELLED;
    default:
      return v1::ChatFinished::REASON_UNSPECIFIED;
  }
}

}  // namespace

struct ChatTurn::State {
  v1::GenerateRequest request;
  ToolSet tools;
  uint64_t prompt_hash = 0;
  uint64_t seed = 0;
  bool wants_tokens = false;
  std::vector<Output> outputs;

  Output& output(int32_t idx) {
    CHECK(idx >= 0 && static_cast<size_t>(idx) < outputs.size());
    return outputs[static_cast<size_t>(idx)];
  }

  // Told by what made the call, so that equal runs have equal ids, and the calls of a
  // conversation's turns have ids of their own.
  std::string call_id(int32_t output_idx, int32_t call_idx) const {
    uint64_t hash = hash_combine(prompt_hash, seed);
    hash = hash_combine(hash, static_cast<uint64_t>(output_idx));
    hash = hash_combine(hash, static_cast<uint64_t>(call_idx));
    std::array<char, 24> text = {};
    std::snprintf(text.data(), text.size(), "call_%016llx", static_cast<unsigned long long>(hash));
    return text.data();
  }

  void take_token(const v1::TokenInfo& token, Output* output) const {
    output->thoughts.push(token.token());
    ++output->num_tokens;
    if (wants_tokens) output->tokens.push_back(token);
  }

  // The piece, and the tokens that came since the last delta.
  void fill(ReplyPiece piece, int32_t output_idx, v1::ChatDelta* delta) {
    Output& from = output(output_idx);
    delta->set_output_index(output_idx);
    delta->set_content(std::move(piece.content));
    delta->set_reasoning_content(std::move(piece.reasoning));
    for (CallText& call : piece.calls) {
      v1::ToolCallDelta* made = delta->add_tool_calls();
      made->set_index(from.num_calls);
      made->set_id(call_id(output_idx, from.num_calls));
      made->set_name(std::move(call.name));
      made->set_arguments(std::move(call.arguments));
      ++from.num_calls;
    }
    for (v1::TokenInfo& token : from.tokens) *delta->add_tokens() = std::move(token);
    delta->set_num_tokens(from.num_tokens);
    from.tokens.clear();
    from.num_tokens = 0;
  }

  void take(v1::TokenEvent event, std::vector<v1::ChatResponse>* out) {
    Output& output = this->output(event.output_index());
    for (const v1::TokenInfo& token : event.tokens()) take_token(token, &output);
    ReplyPiece piece;
    output.parser.push(event.text(), &piece);
    if (piece.empty()) return;
    fill(std::move(piece), event.output_index(), out->emplace_back().mutable_delta());
  }

  void take(const v1::FinishedEvent& event, v1::ChatFinished* finished) {
    Output& output = this->output(event.output_index());
    ReplyPiece piece;
    output.parser.push(event.text(), &piece);
    output.parser.finish(&piece);
    fill(std::move(piece), event.output_index(), finished->mutable_last());
    finished->set_output_index(event.output_index());
    finished->set_reason(reason_of(event.reason(), output.num_calls > 0));
    if (event.has_stop_token_id()) finished->set_stop_token_id(event.stop_token_id());
    if (event.has_stop_text()) finished->set_stop_text(event.stop_text());
  }

  v1::Usage with_reasoning(v1::Usage usage) const {
    int32_t count = 0;
    for (const Output& output : outputs) count += output.thoughts.count();
    usage.set_reasoning_tokens(count);
    return usage;
  }
};

ChatTurn::ChatTurn(std::unique_ptr<State> state) : state_(std::move(state)) {}
ChatTurn::~ChatTurn() = default;

Result<std::unique_ptr<ChatTurn>> ChatTurn::create(const Prompter& prompter,
                                                   const v1::ChatRequest& request) {
  TRY_ASSIGN(Conversation conversation, read_conversation(request));
  TRY_ASSIGN(std::string prompt, prompter.render(conversation));
  const ReplyStart start = reply_start(prompt);
  TRY_ASSIGN(auto constraint, reply_constraint(request, conversation.tools, start));

  auto state = std::make_unique<State>();
  state->tools = std::move(conversation.tools);
  state->prompt_hash = hash_text(prompt);
  state->wants_tokens = request.response().has_output_candidates();
  const bool one_call = (request.has_parallel_tool_calls() && !request.parallel_tool_calls()) ||
                        request.tool_choice().mode() == v1::ToolChoice::NAMED;
  // A count out of bounds is refused where the request is opened; until then it is worth nothing.
  const int32_t asked =
      request.sampling().has_num_sequences() ? request.sampling().num_sequences() : 1;
  constexpr int32_t kOutputsMax = 1024;
  for (int32_t i = 0; i < std::clamp(asked, 1, kOutputsMax); ++i)
    state->outputs.emplace_back(start, state->tools, one_call);

  v1::GenerateRequest& made = state->request;
  made.set_request_id(request.request_id());
  made.set_model(request.model());
  made.set_text(std::move(prompt));
  if (request.has_sampling()) *made.mutable_sampling() = request.sampling();
  if (request.has_stopping()) *made.mutable_stopping() = request.stopping();
  if (request.has_response()) *made.mutable_response() = request.response();
  if (constraint) *made.mutable_constraint() = std::move(*constraint);
  return std::unique_ptr<ChatTurn>(new ChatTurn(std::move(state)));
}

const v1::GenerateRequest& ChatTurn::request() const { return state_->request; }

void ChatTurn::take(v1::GenerateResponse response, std::vector<v1::ChatResponse>* out) {
  const size_t first = out->size();
  switch (response.event_case()) {
    case v1::GenerateResponse::kPrompt:
      state_->seed = response.prompt().seed();
      out->emplace_back().mutable_prompt()->set_seed(state_->seed);
      break;
    case v1::GenerateResponse::kToken:
      state_->take(std::move(*response.mutable_token()), out);
      break;
    case v1::GenerateResponse::kFinished:
      state_->take(response.finished(), out->emplace_back().mutable_finished());
      break;
    case v1::GenerateResponse::kError:
      *out->emplace_back().mutable_error() = std::move(*response.mutable_error());
      break;
    case v1::GenerateResponse::EVENT_NOT_SET:
      break;
  }
  for (size_t i = first; i < out->size(); ++i) {
    (*out)[i].set_request_id(response.request_id());
    if (response.has_usage()) *(*out)[i].mutable_usage() = state_->with_reasoning(response.usage());
  }
}

}  // namespace mimo::chat
