#include "coordinator/http/completion_request.h"

#include <utility>

namespace mimo::http {
namespace {

// As many as one request may bring; more belong into several.
constexpr size_t kPromptsMax = 64;

bool is_id(const Json& value) {
  return value.is_number_integer() && value.get<int64_t>() >= 0 &&
         value.get<int64_t>() <= INT32_MAX;
}

// One prompt, text or ids. `name` for messages.
void read_one(Fields& fields, const std::string& name, const Json& value,
              v1::GenerateRequest* request) {
  if (value.is_string()) return request->set_text(value.get<std::string>());
  if (!value.is_array()) return fields.refuse(name, value, "text or a list of token ids");
  auto* ids = request->mutable_token_ids()->mutable_ids();
  ids->Reserve(static_cast<int>(value.size()));
  for (size_t i = 0; i < value.size(); ++i) {
    if (!is_id(value[i]))
      return fields.refuse(name + "[" + std::to_string(i) + "]", value[i], "a token id");
    ids->Add(value[i].get<int32_t>());
  }
}

void read_prompts(Fields& fields, const v1::GenerateRequest& common, CompletionCall* call) {
  const Json* prompt = fields.find("prompt");
  if (prompt == nullptr)
    return fields.refuse("prompt", Json(nullptr), "text, token ids, or a list of either");
  const bool is_list = prompt->is_array() && !prompt->empty() && !(*prompt)[0].is_number();
  if (!is_list) return read_one(fields, "prompt", *prompt, &call->requests.emplace_back(common));
  if (prompt->size() > kPromptsMax)
    return fields.refuse("prompt", *prompt, "at most " + std::to_string(kPromptsMax) + " prompts");
  for (size_t i = 0; i < prompt->size() && fields.ok(); ++i) {
    v1::GenerateRequest& request = call->requests.emplace_back(common);
    read_one(fields, "prompt[" + std::to_string(i) + "]", (*prompt)[i], &request);
    // An id is one live request's.
    if (!common.request_id().empty() && i > 0)
      request.set_request_id(common.request_id() + "-" + std::to_string(i));
  }
}

void read_logprobs(Fields& fields, CompletionCall* call, v1::ResponseOptions* response) {
  call->echo = fields.flag("echo").value_or(false);
  const Json* wanted = fields.find("logprobs");
  if (wanted == nullptr || *wanted == false) return;
  const auto top = *wanted == true ? std::optional<int32_t>(0) : fields.count("logprobs");
  if (!top) return;
  call->logprobs = true;
  response->set_output_candidates(*top);
  if (call->echo) response->set_prompt_candidates(*top);
}

void read_max_tokens(Fields& fields, CompletionCall* call, v1::Stopping* stopping) {
  // OpenAI's default for this endpoint.
  constexpr int32_t kDefault = 16;
  const int32_t most = fields.count("max_tokens").value_or(kDefault);
  // The engine draws at least one; scoring a prompt wants none.
  call->only_prompt = most == 0 && call->echo;
  stopping->set_max_tokens(call->only_prompt ? 1 : most);
}

// Here and not only at the engine's door: the reply has a place for each output.
void read_num_outputs(Fields& fields, const CompletionLimits& limits, const v1::Sampling& sampling,
                      CompletionCall* call) {
  if (!sampling.has_num_sequences()) return;
  call->num_outputs = sampling.num_sequences();
  if (call->num_outputs < 1 || call->num_outputs > limits.num_outputs_max)
    fields.refuse("n", Json(call->num_outputs),
                  "[1, " + std::to_string(limits.num_outputs_max) + "]");
}

void check_together(Fields& fields, const CompletionLimits& limits, const CompletionCall& call) {
  const auto num_prompts = static_cast<int64_t>(call.requests.size());
  if (num_prompts > limits.requests_max)
    return fields.refuse("prompt", Json(num_prompts),
                         "at most " + std::to_string(limits.requests_max) + " prompts together");
  if (num_prompts * call.num_outputs > limits.sequences_max)
    fields.refuse("n", Json(call.num_outputs),
                  "at most " + std::to_string(limits.sequences_max) + " outputs of the " +
                      std::to_string(num_prompts) + " prompts together");
}

}  // namespace

std::optional<ApiError> read_completion(const Json& body, const CompletionLimits& limits,
                                        CompletionCall* call) {
  std::optional<ApiError> error;
  Fields fields(body, "", &error);
  v1::GenerateRequest common;
  common.set_model(fields.text("model").value_or(""));
  common.set_request_id(fields.text("request_id").value_or(""));
  read_sampling(fields, common.mutable_sampling());
  read_stopping(fields, common.mutable_stopping());
  read_logprobs(fields, call, common.mutable_response());
  read_max_tokens(fields, call, common.mutable_stopping());
  if (const auto skip = fields.flag("skip_special_tokens"); skip && !*skip)
    common.mutable_response()->set_include_special_tokens(true);
  v1::Constraint constraint;
  read_constraint(fields, &constraint);
  if (constraint.kind_case() != v1::Constraint::KIND_NOT_SET)
    *common.mutable_constraint() = std::move(constraint);
  read_stream(fields, &call->stream);
  read_num_outputs(fields, limits, common.sampling(), call);
  read_rest(fields);
  fields.not_done("suffix", "", "the model does not fill in");
  fields.not_done("best_of", call->num_outputs, "expected it as n, or not at all");
  fields.not_done("prompt_embeds", Json(), "expected a prompt");
  fields.find("add_special_tokens");  // the tokenizer adds none
  read_prompts(fields, common, call);
  check_together(fields, limits, *call);
  call->ignored = fields.ignored();
  return error;
}

}  // namespace mimo::http
