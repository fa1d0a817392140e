#include "coordinator/http/prepare.h"

#include <utility>

#include "coordinator/chat/chat_turn.h"
#include "coordinator/chat/conversation.h"
#include "coordinator/chat/prompter.h"
#include "coordinator/http/chat_format.h"
#include "coordinator/http/chat_reply.h"
#include "coordinator/http/chat_request.h"
#include "coordinator/http/completion_reply.h"
#include "coordinator/http/completion_request.h"
#include "coordinator/http/json_text.h"

namespace mimo::http {
namespace {

ReplyFacts reply_facts(const Doors& doors, std::string id, int64_t created,
                       const StreamFields& stream, bool logprobs) {
  const v1::ModelInfo& model = doors.facts.model;
  ReplyFacts facts;
  facts.id = std::move(id);
  facts.created = created;
  facts.model = model.model();
  facts.fingerprint = "mimo-" + doors.facts.server.version() + "-" + model.checkpoint_digest();
  facts.stream = stream;
  facts.logprobs = logprobs;
  facts.eos_ids.assign(model.eos_token_ids().begin(), model.eos_token_ids().end());
  facts.bytes_max = doors.limits.message_bytes_max;
  facts.tokenizer = doors.tokenizer;
  return facts;
}

// The reply and what the engine runs have one id, so that it can be aborted by what its client
// sees: the request's own, or `id`.
std::string name(std::string id, std::vector<v1::GenerateRequest>* requests) {
  if (!requests->front().request_id().empty()) id = requests->front().request_id();
  for (size_t i = 0; i < requests->size(); ++i)
    if ((*requests)[i].request_id().empty())
      (*requests)[i].set_request_id(i == 0 ? id : id + "-" + std::to_string(i));
  return id;
}

Preparation refused(ApiError error) {
  Preparation preparation;
  preparation.error = std::move(error);
  return preparation;
}

std::optional<ApiError> check_model(const Doors& doors, const std::string& model) {
  const std::string& served = doors.facts.model.model();
  if (model.empty() || model == served) return std::nullopt;
  ApiError error = api_error(Error{
      Code::kNotFound, "model = \"" + model.substr(0, 200) + "\": expected \"" + served + "\""});
  return error;
}

CompletionLimits completion_limits(const Doors& doors) {
  return {doors.limits.num_sequences_max, doors.admission.requests_max,
          doors.admission.sequences_max};
}

ApiError no_chat() {
  return api_error(Error{Code::kUnimplemented,
                         "messages: this checkpoint has no chat template, expected "
                         "/v1/completions"});
}

}  // namespace

Preparation prepare_completion(const Doors& doors, const std::string& body, std::string id,
                               int64_t created) {
  Json json;
  if (auto error = parse_body(body, &json)) return refused(std::move(*error));
  CompletionCall call;
  if (auto error = read_completion(json, completion_limits(doors), &call))
    return refused(std::move(*error));
  Preparation preparation;
  Prepared& prepared = preparation.prepared;
  prepared.id = name(std::move(id), &call.requests);
  prepared.ignored = std::move(call.ignored);
  prepared.reply = std::make_unique<CompletionReply>(
      reply_facts(doors, prepared.id, created, call.stream, call.logprobs), call);
  prepared.requests = std::move(call.requests);
  return preparation;
}

Preparation prepare_chat(const Doors& doors, const std::string& body, std::string id,
                         int64_t created) {
  Json json;
  if (auto error = parse_body(body, &json)) return refused(std::move(*error));
  ChatCall call;
  if (auto error = read_chat(json, &call)) return refused(std::move(*error));
  if (doors.prompter == nullptr) return refused(no_chat());
  if (auto error = check_model(doors, call.request.model())) return refused(std::move(*error));
  auto turn = chat::ChatTurn::create(*doors.prompter, call.request);
  if (!turn.ok()) return refused(api_error(turn.error()));
  Preparation preparation;
  Prepared& prepared = preparation.prepared;
  prepared.ignored = std::move(call.ignored);
  prepared.requests.push_back(turn.value()->request());
  prepared.id = name(std::move(id), &prepared.requests);
  prepared.reply = std::make_unique<ChatReply>(
      std::move(turn).value(),
      reply_facts(doors, prepared.id, created, call.stream, call.logprobs));
  return preparation;
}

// --- Tokens ------------------------------------------------------------------------------------

namespace {

// `with_start`: with what begins the reply behind it.
Result<std::string> render(const chat::Prompter& prompter, const v1::ChatRequest& request,
                           bool with_start) {
  TRY_ASSIGN(chat::Conversation conversation, chat::read_conversation(request));
  conversation.context["add_generation_prompt"] = with_start;
  return prompter.render(conversation);
}

// The text that is to be ids: a prompt, or a conversation as the template writes it.
std::optional<ApiError> text_to_tokenize(const Doors& doors, Fields& fields, std::string* text) {
  std::string model;
  if (fields.find("messages") != nullptr) {
    v1::ChatRequest request;
    read_conversation(fields, &request);
    const bool with_start = fields.flag("add_generation_prompt").value_or(true);
    fields.not_done("continue_final_message", false, "a reply is always begun anew");
    fields.not_done("chat_template", Json(), "the checkpoint's own template is run");
    if (!fields.ok()) return *fields.error();
    if (doors.prompter == nullptr) return no_chat();
    auto rendered = render(*doors.prompter, request, with_start);
    if (!rendered.ok()) return api_error(rendered.error());
    *text = std::move(rendered).value();
    model = request.model();
  } else {
    model = fields.text("model").value_or("");
    const auto prompt = fields.text("prompt");
    if (!prompt && fields.ok()) fields.refuse("prompt", Json(nullptr), "a text, or messages");
    if (!fields.ok()) return *fields.error();
    *text = *prompt;
  }
  if (static_cast<int64_t>(text->size()) > doors.limits.prompt_bytes_max)
    return bad_request("prompt", "prompt = " + std::to_string(text->size()) +
                                     " bytes: expected at most " +
                                     std::to_string(doors.limits.prompt_bytes_max));
  return check_model(doors, model);
}

ApiError no_tokenizer() {
  return api_error(Error{Code::kUnimplemented, "this server has no tokenizer: ids only"});
}

}  // namespace

HttpResponse tokenize(const Doors& doors, const std::string& body) {
  Json json;
  if (auto error = parse_body(body, &json)) return error_response(*error);
  if (doors.tokenizer == nullptr) return error_response(no_tokenizer());
  std::optional<ApiError> error;
  Fields fields(json, "", &error);
  const bool with_texts = fields.flag("return_token_strs").value_or(false);
  fields.find("add_special_tokens");  // the tokenizer adds none
  std::string text;
  if (auto refusal = text_to_tokenize(doors, fields, &text)) return error_response(*refusal);
  const auto ids = doors.tokenizer->encode(text);
  if (!ids.ok()) return error_response(api_error(ids.error().with_context("prompt")));

  HttpResponse response;
  add_ignored(fields.ignored(), &response.headers);
  std::string& out = response.body;
  out = "{\"count\":" + std::to_string(ids.value().size()) +
        ",\"max_model_len\":" + std::to_string(doors.facts.model.max_positions()) + ",\"tokens\":[";
  std::string texts;
  for (const int32_t id : ids.value()) {
    if (out.back() != '[') out += ',';
    append_number(int64_t{id}, &out);
    if (!with_texts) continue;
    if (!texts.empty()) texts += ',';
    append_quoted(doors.tokenizer->token_bytes(id), &texts);
  }
  out += "],\"token_strs\":" + (with_texts ? "[" + texts + "]" : std::string("null")) + "}";
  return response;
}

HttpResponse detokenize(const Doors& doors, const std::string& body) {
  Json json;
  if (auto error = parse_body(body, &json)) return error_response(*error);
  if (doors.tokenizer == nullptr) return error_response(no_tokenizer());
  std::optional<ApiError> error;
  Fields fields(json, "", &error);
  const std::string model = fields.text("model").value_or("");
  const Json* tokens = fields.list("tokens");
  if (tokens == nullptr) fields.refuse("tokens", Json(nullptr), "a list of token ids");
  if (error) return error_response(*error);
  if (auto refusal = check_model(doors, model)) return error_response(*refusal);
  const int32_t limit = doors.facts.model.vocab_size();
  std::vector<int32_t> ids;
  ids.reserve(tokens->size());
  for (size_t i = 0; i < tokens->size(); ++i) {
    const Json& id = (*tokens)[i];
    if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() >= limit) {
      fields.refuse("tokens[" + std::to_string(i) + "]", id,
                    "a token id in [0, " + std::to_string(limit) + ")");
      return error_response(*error);
    }
    ids.push_back(id.get<int32_t>());
  }
  HttpResponse response;
  add_ignored(fields.ignored(), &response.headers);
  response.body = "{\"prompt\":";
  append_quoted(doors.tokenizer->decode(ids, /*skip_special=*/false), &response.body);
  response.body += "}";
  return response;
}

}  // namespace mimo::http
