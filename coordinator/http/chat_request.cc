#include "coordinator/http/chat_request.h"

#include <utility>

namespace mimo::http {
namespace {

// A string, or parts of which each is text.
std::optional<std::string> read_content(Fields& fields) {
  const Json* content = fields.find("content");
  if (content == nullptr) return std::nullopt;
  if (content->is_string()) return content->get<std::string>();
  if (!content->is_array()) {
    fields.refuse("content", *content, "a string or a list of parts");
    return std::nullopt;
  }
  std::string text;
  for (size_t i = 0; i < content->size(); ++i) {
    const Json& part = (*content)[i];
    const std::string name = "content[" + std::to_string(i) + "]";
    if (part.is_string()) {
      text += part.get<std::string>();
      continue;
    }
    if (!part.is_object()) {
      fields.refuse(name, part, "a part with a type");
      return std::nullopt;
    }
    Fields inner(part, fields.where() + name + ".", fields.error());
    const auto type = inner.text("type").value_or("");
    if (type != "text" && type != "refusal") {
      inner.refuse("type", Json(type), "\"text\": the model reads nothing else");
      return std::nullopt;
    }
    const auto value = inner.text(type.c_str());
    if (!value) {
      inner.refuse(type, Json(nullptr), "a string");
      return std::nullopt;
    }
    text += *value;
  }
  return text;
}

void read_tool_call(Fields& fields, v1::ToolCall* call) {
  fields.find("index");
  call->set_id(fields.text("id").value_or(""));
  if (const auto type = fields.text("type"); type && *type != "function")
    return fields.refuse("type", Json(*type), "\"function\"");
  const Json* function = fields.object("function");
  if (function == nullptr) return fields.refuse("function", Json(nullptr), "an object");
  Fields inner(*function, fields.where() + "function.", fields.error());
  const auto name = inner.text("name");
  if (!name || name->empty()) return inner.refuse("name", Json(nullptr), "a function's name");
  call->set_name(*name);
  const Json* arguments = inner.find("arguments");
  if (arguments == nullptr || (!arguments->is_string() && !arguments->is_object()))
    return inner.refuse("arguments", arguments == nullptr ? Json(nullptr) : *arguments,
                        "a JSON object as text");
  call->set_arguments(arguments->is_string() ? arguments->get<std::string>() : arguments->dump());
}

void read_message(Fields& fields, v1::ChatMessage* message) {
  const auto role = fields.text("role");
  if (!role || role->empty())
    return fields.refuse("role", role ? Json(*role) : Json(nullptr),
                         "\"system\", \"user\", \"assistant\" or \"tool\"");
  // OpenAI's newer word for what templates call system.
  message->set_role(*role == "developer" ? "system" : *role);
  if (auto content = read_content(fields)) message->set_content(std::move(*content));
  for (const char* name : {"reasoning_content", "reasoning"})
    if (auto reasoning = fields.text(name)) message->set_reasoning_content(std::move(*reasoning));
  if (auto id = fields.text("tool_call_id")) message->set_tool_call_id(std::move(*id));
  if (auto name = fields.text("name")) message->set_name(std::move(*name));
  const Json* calls = fields.list("tool_calls");
  if (calls == nullptr) return;
  for (size_t i = 0; i < calls->size() && fields.ok(); ++i) {
    const std::string name = "tool_calls[" + std::to_string(i) + "]";
    if (!(*calls)[i].is_object()) return fields.refuse(name, (*calls)[i], "an object");
    Fields inner((*calls)[i], fields.where() + name + ".", fields.error());
    read_tool_call(inner, message->add_tool_calls());
  }
}

void read_tool(Fields& fields, v1::Tool* tool) {
  const auto type = fields.text("type");
  if (type != "function")
    return fields.refuse("type", type ? Json(*type) : Json(nullptr), "\"function\"");
  const Json* function = fields.object("function");
  if (function == nullptr) return fields.refuse("function", Json(nullptr), "an object");
  Fields inner(*function, fields.where() + "function.", fields.error());
  const auto name = inner.text("name");
  if (!name || name->empty()) return inner.refuse("name", Json(nullptr), "a function's name");
  tool->set_name(*name);
  if (auto text = inner.text("description")) tool->set_description(std::move(*text));
  if (const Json* schema = inner.object("parameters")) tool->set_parameters(schema->dump());
  if (const auto strict = inner.flag("strict")) tool->set_strict(*strict);
}

void read_tools(Fields& fields, v1::ChatRequest* request) {
  const Json* tools = fields.list("tools");
  if (tools == nullptr) return;
  for (size_t i = 0; i < tools->size() && fields.ok(); ++i) {
    const std::string name = "tools[" + std::to_string(i) + "]";
    if (!(*tools)[i].is_object()) return fields.refuse(name, (*tools)[i], "an object");
    Fields inner((*tools)[i], fields.where() + name + ".", fields.error());
    read_tool(inner, request->add_tools());
  }
}

void read_tool_choice(Fields& fields, v1::ChatRequest* request) {
  const Json* choice = fields.find("tool_choice");
  if (choice == nullptr) return;
  v1::ToolChoice* wanted = request->mutable_tool_choice();
  if (*choice == "auto") return wanted->set_mode(v1::ToolChoice::AUTO);
  if (*choice == "none") return wanted->set_mode(v1::ToolChoice::NONE);
  if (*choice == "required") return wanted->set_mode(v1::ToolChoice::REQUIRED);
  if (!choice->is_object())
    return fields.refuse("tool_choice", *choice,
                         "\"auto\", \"none\", \"required\" or a named function");
  Fields inner(*choice, fields.where() + "tool_choice.", fields.error());
  const auto type = inner.text("type");
  if (type != "function")
    return inner.refuse("type", type ? Json(*type) : Json(nullptr), "\"function\"");
  const Json* function = inner.object("function");
  if (function == nullptr) return inner.refuse("function", Json(nullptr), "an object");
  Fields named(*function, inner.where() + "function.", fields.error());
  const auto name = named.text("name");
  if (!name || name->empty()) return named.refuse("name", Json(nullptr), "a function's name");
  wanted->set_mode(v1::ToolChoice::NAMED);
  wanted->set_name(*name);
}

// Three ways to say it; the template's own word is the strongest.
void read_thinking(Fields& fields, v1::ChatRequest* request) {
  const auto effort = fields.text("reasoning_effort");
  if (effort) {
    bool known = false;
    for (const char* word : {"none", "minimal", "low", "medium", "high", "xhigh", "max"})
      known |= *effort == word;
    if (!known)
      return fields.refuse("reasoning_effort", Json(*effort),
                           "\"none\", \"minimal\", \"low\", \"medium\" or \"high\"");
    request->set_enable_thinking(*effort != "none");
  }
  const Json* arguments = fields.object("chat_template_kwargs");
  if (arguments == nullptr) return;
  Json rest = Json::object();
  for (const auto& [name, value] : arguments->items()) {
    if (name == "enable_thinking" || name == "thinking") {
      if (!value.is_boolean())
        return fields.refuse("chat_template_kwargs." + name, value, "true or false");
      request->set_enable_thinking(value.get<bool>());
    } else {
      rest[name] = value;
    }
  }
  if (!rest.empty()) request->set_template_arguments(rest.dump());
}

void read_logprobs(Fields& fields, ChatCall* call) {
  call->logprobs = fields.flag("logprobs").value_or(false);
  const auto top = fields.count("top_logprobs");
  if (top && !call->logprobs && *top != 0)
    return fields.refuse("top_logprobs", Json(*top), "it only with logprobs = true");
  if (call->logprobs) call->request.mutable_response()->set_output_candidates(top.value_or(0));
}

void read_max_tokens(Fields& fields, v1::Stopping* stopping) {
  // The newer name is the stronger one.
  for (const char* name : {"max_tokens", "max_completion_tokens"})
    if (const auto most = fields.count(name)) stopping->set_max_tokens(*most);
}

void refuse_what_is_not_done(Fields& fields) {
  fields.not_done("audio", Json(), "the model speaks text");
  fields.not_done("modalities", Json::array({"text"}), "the model speaks text");
  fields.not_done("functions", Json::array(), "expected tools");
  fields.not_done("function_call", "none", "expected tool_choice");
  fields.not_done("web_search_options", Json(), "this server does not search");
  fields.not_done("echo", false, "expected /v1/completions");
  fields.not_done("best_of", 1, "expected n");
  fields.not_done("chat_template", Json(), "the checkpoint's own template is run");
  fields.not_done("documents", Json::array(), "expected them in the messages");
  fields.not_done("add_generation_prompt", true, "a reply is always begun");
  fields.not_done("continue_final_message", false, "a reply is always begun anew");
  for (const char* name : {"prediction", "verbosity", "include_reasoning", "separate_reasoning"})
    fields.find(name);
}

}  // namespace

void read_conversation(Fields& fields, v1::ChatRequest* request) {
  request->set_model(fields.text("model").value_or(""));
  const Json* messages = fields.list("messages");
  if (messages == nullptr || messages->empty())
    return fields.refuse("messages", messages == nullptr ? Json(nullptr) : *messages,
                         "a list of at least one message");
  for (size_t i = 0; i < messages->size() && fields.ok(); ++i) {
    const std::string name = "messages[" + std::to_string(i) + "]";
    if (!(*messages)[i].is_object()) return fields.refuse(name, (*messages)[i], "an object");
    Fields inner((*messages)[i], name + ".", fields.error());
    read_message(inner, request->add_messages());
  }
  read_tools(fields, request);
  read_thinking(fields, request);
}

std::optional<ApiError> read_chat(const Json& body, ChatCall* call) {
  std::optional<ApiError> error;
  Fields fields(body, "", &error);
  v1::ChatRequest& request = call->request;
  request.set_request_id(fields.text("request_id").value_or(""));
  read_conversation(fields, &request);
  read_tool_choice(fields, &request);
  if (const auto many = fields.flag("parallel_tool_calls")) request.set_parallel_tool_calls(*many);
  read_sampling(fields, request.mutable_sampling());
  read_stopping(fields, request.mutable_stopping());
  read_max_tokens(fields, request.mutable_stopping());
  read_logprobs(fields, call);
  if (const auto skip = fields.flag("skip_special_tokens"); skip && !*skip)
    request.mutable_response()->set_include_special_tokens(true);
  v1::Constraint constraint;
  read_constraint(fields, &constraint);
  if (constraint.kind_case() != v1::Constraint::KIND_NOT_SET)
    *request.mutable_constraint() = std::move(constraint);
  read_stream(fields, &call->stream);
  read_rest(fields);
  refuse_what_is_not_done(fields);
  call->ignored = fields.ignored();
  return error;
}

}  // namespace mimo::http
