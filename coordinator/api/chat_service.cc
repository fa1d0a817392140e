#include "coordinator/api/chat_service.h"

#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "coordinator/api/session_reactor.h"
#include "coordinator/api/wire_status.h"
#include "coordinator/sessions/guarded.h"
#include "coordinator/text/utf8.h"

namespace mimo::coordinator {
namespace {

Error unimplemented(std::string message) { return {Code::kUnimplemented, std::move(message)}; }

// What the engine says, as the turn tells it. Without a turn only refusals come.
struct TakeTurn {
  std::unique_ptr<chat::ChatTurn> turn;
  std::vector<v1::ChatResponse> events;

  void operator()(v1::GenerateResponse message, std::deque<v1::ChatResponse>* out) {
    if (turn == nullptr) {
      v1::ChatResponse& refusal = out->emplace_back();
      *refusal.mutable_request_id() = message.request_id();
      if (message.has_error()) *refusal.mutable_error() = message.error();
      return;
    }
    events.clear();
    turn->take(std::move(message), &events);
    for (v1::ChatResponse& event : events) out->push_back(std::move(event));
  }
};
using ChatReactor = SessionReactor<v1::ChatResponse, TakeTurn>;

// Up to here a request is read, rendered and encoded within about a millisecond.
constexpr size_t kInlineBytes = 4096;

RequestError overloaded() {
  RequestError refused =
      request_error({Code::kResourceExhausted, "too many conversations are being read"});
  refused.retry_after_ms = 1000;
  return refused;
}

}  // namespace

Result<void> ChatService::check(const std::string& model) const {
  if (!model.empty() && model != model_.model())
    return Error{Code::kNotFound, "model = \"" + std::string(text::utf8_prefix(model, 200)) +
                                      "\": expected \"" + model_.model() + "\" or none"};
  if (doors_.tokenizer == nullptr)
    return unimplemented("this server has no tokenizer: it takes and gives ids only");
  return {};
}

Result<void> ChatService::check_bytes(const char* field, const std::string& text) const {
  const auto num_bytes = static_cast<int64_t>(text.size());
  if (num_bytes <= doors_.prompt_bytes_max) return {};
  return invalid_argument(std::string(field) + " = " + std::to_string(num_bytes) +
                          " bytes: expected at most " + std::to_string(doors_.prompt_bytes_max));
}

bool ChatService::run(const google::protobuf::Message& request, std::function<void()> work) {
  if (request.ByteSizeLong() > kInlineBytes) return readers_.post(std::move(work));
  work();
  return true;
}

Result<std::unique_ptr<chat::ChatTurn>> ChatService::turn_of(const v1::ChatRequest& request) const {
  TRY(check(request.model()));
  if (doors_.prompter == nullptr)
    return unimplemented("messages: this checkpoint has no chat template");
  return chat::ChatTurn::create(*doors_.prompter, request);
}

grpc::ServerWriteReactor<v1::ChatResponse>* ChatService::Complete(
    grpc::CallbackServerContext* context, const v1::ChatRequest* request) {
  // Owns itself from here on: OnDone() comes last and deletes it.
  auto* reactor = new ChatReactor(context, sessions_, TakeTurn{});
  reactor->hold();
  const bool taken = run(*request, [this, context, request, reactor] {
    auto turn = guarded("a conversation", [&]() -> Result<std::unique_ptr<chat::ChatTurn>> {
      if (context->IsCancelled()) return Error{Code::kCancelled, "the client has gone"};
      return turn_of(*request);
    });
    if (turn && turn->ok()) {
      const v1::GenerateRequest prompt = turn->value()->request();
      reactor->translate().turn = std::move(*turn).value();
      reactor->open(prompt);
    } else {
      reactor->refuse(request_error(turn ? turn->error() : failed_inside()));
    }
    reactor->release();
  });
  if (!taken) {
    reactor->refuse(overloaded());
    reactor->release();
  }
  return reactor;
}

// --- Without the engine ------------------------------------------------------------------------

grpc::ServerUnaryReactor* ChatService::answer(grpc::CallbackServerContext* context,
                                              const google::protobuf::Message& request,
                                              std::function<Result<void>()> work) {
  // The request and its response live until the reactor finishes.
  auto* reactor = context->DefaultReactor();
  const bool taken = run(request, [context, reactor, work = std::move(work)] {
    const auto result = guarded("a call", [&]() -> Result<void> {
      if (context->IsCancelled()) return Error{Code::kCancelled, "the client has gone"};
      return work();
    });
    if (result && result->ok()) return reactor->Finish(grpc::Status::OK);
    reactor->Finish(wire_status(request_error(result ? result->error() : failed_inside())));
  });
  if (!taken) reactor->Finish(wire_status(overloaded()));
  return reactor;
}

Result<void> ChatService::render(const v1::ChatRequest& request,
                                 v1::RenderResponse* response) const {
  TRY_ASSIGN(const auto turn, turn_of(request));
  const std::string& text = turn->request().text();
  TRY(check_bytes("the rendered prompt", text));
  TRY_ASSIGN(const auto ids, doors_.tokenizer->encode(text));
  response->set_text(text);
  response->mutable_token_ids()->Add(ids.begin(), ids.end());
  return {};
}

Result<void> ChatService::tokenize(const v1::TokenizeRequest& request,
                                   v1::TokenizeResponse* response) const {
  TRY(check(request.model()));
  TRY(check_bytes("text", request.text()));
  TRY_ASSIGN(const auto ids, doors_.tokenizer->encode(request.text()));
  response->mutable_token_ids()->Add(ids.begin(), ids.end());
  response->set_max_positions(model_.max_positions());
  if (!request.with_tokens()) return {};
  // One by one, so that a token that is part of a character shows as that.
  for (const int32_t id : ids)
    response->add_tokens(doors_.tokenizer->decode({&id, 1}, /*skip_special=*/false));
  return {};
}

Result<void> ChatService::detokenize(const v1::DetokenizeRequest& request,
                                     v1::DetokenizeResponse* response) const {
  TRY(check(request.model()));
  const auto& ids = request.token_ids();
  for (int i = 0; i < ids.size(); ++i)
    if (ids[i] < 0 || ids[i] >= model_.vocab_size())
      return invalid_argument("token_ids[" + std::to_string(i) + "] = " + std::to_string(ids[i]) +
                              ": expected [0, " + std::to_string(model_.vocab_size()) + ")");
  response->set_text(doors_.tokenizer->decode({ids.data(), static_cast<size_t>(ids.size())},
                                              /*skip_special=*/false));
  return {};
}

grpc::ServerUnaryReactor* ChatService::Render(grpc::CallbackServerContext* context,
                                              const v1::ChatRequest* request,
                                              v1::RenderResponse* response) {
  return answer(context, *request, [=, this] { return render(*request, response); });
}

grpc::ServerUnaryReactor* ChatService::Tokenize(grpc::CallbackServerContext* context,
                                                const v1::TokenizeRequest* request,
                                                v1::TokenizeResponse* response) {
  return answer(context, *request, [=, this] { return tokenize(*request, response); });
}

grpc::ServerUnaryReactor* ChatService::Detokenize(grpc::CallbackServerContext* context,
                                                  const v1::DetokenizeRequest* request,
                                                  v1::DetokenizeResponse* response) {
  return answer(context, *request, [=, this] { return detokenize(*request, response); });
}

}  // namespace mimo::coordinator
