#include "coordinator/chat/conversation.h"

#include <utility>

#include "coordinator/chat/json_text.h"

namespace mimo::chat {
namespace {

using Json = nlohmann::ordered_json;

Result<Json> read_call(const v1::ToolCall& call, const std::string& field) {
  if (call.name().empty())
    return invalid_argument(field + ".name is empty: expected the called tool's name");
  Json function = {{"name", call.name()}, {"arguments", Json::object()}};
  // Clients send a call without arguments as an empty text too.
  if (!call.arguments().empty()) {
    TRY_ASSIGN(function["arguments"], parse_object(call.arguments(), field + ".arguments"));
  }
  Json made = Json::object();
  if (!call.id().empty()) made["id"] = call.id();
  made["type"] = "function";
  made["function"] = std::move(function);
  return made;
}

// Unset fields are absent, but for the content of a message that says something else: templates put
// it into texts without asking.
Result<Json> read_message(const v1::ChatMessage& message, const std::string& field) {
  if (message.role().empty())
    return invalid_argument(field +
                            ".role is empty: expected \"system\", \"user\", \"assistant\" "
                            "or \"tool\"");
  const bool speaks = message.tool_calls_size() > 0 || message.has_reasoning_content();
  if (!message.has_content() && !speaks)
    return invalid_argument(field +
                            ".content is not set: expected a text, as the message has no "
                            "tool_calls and no reasoning_content");
  Json made = {{"role", message.role()}, {"content", message.content()}};
  if (message.has_reasoning_content()) made["reasoning_content"] = message.reasoning_content();
  for (int i = 0; i < message.tool_calls_size(); ++i) {
    const std::string place = field + ".tool_calls[" + std::to_string(i) + "]";
    TRY_ASSIGN(Json call, read_call(message.tool_calls(i), place));
    made["tool_calls"].push_back(std::move(call));
  }
  if (message.has_tool_call_id()) made["tool_call_id"] = message.tool_call_id();
  if (message.has_name()) made["name"] = message.name();
  return made;
}

Json tools_json(const ToolSet& tools) {
  if (tools.empty()) return nullptr;
  Json made = Json::array();
  for (const ToolSpec& tool : tools.all()) {
    Json function = {{"name", tool.name}};
    if (tool.description) function["description"] = *tool.description;
    function["parameters"] = tool.parameters;
    made.push_back({{"type", "function"}, {"function", std::move(function)}});
  }
  return made;
}

Result<void> check_choice(const v1::ChatRequest& request, const ToolSet& tools) {
  const v1::ToolChoice& choice = request.tool_choice();
  const bool forced =
      choice.mode() == v1::ToolChoice::REQUIRED || choice.mode() == v1::ToolChoice::NAMED;
  if (!v1::ToolChoice::Mode_IsValid(choice.mode()))
    return invalid_argument("tool_choice.mode is " + std::to_string(choice.mode()) +
                            ": expected AUTO, NONE, REQUIRED or NAMED");
  if (choice.mode() == v1::ToolChoice::NAMED && tools.find(choice.name()) == nullptr)
    return invalid_argument("tool_choice.name is " + shown(choice.name()) +
                            ": expected the name of one of the " +
                            std::to_string(tools.all().size()) + " tools");
  if (forced && tools.empty())
    return invalid_argument("tool_choice.mode is " + v1::ToolChoice::Mode_Name(choice.mode()) +
                            " without tools: expected AUTO or NONE");
  if (forced && request.constraint().kind_case() != v1::Constraint::KIND_NOT_SET)
    return invalid_argument("constraint is set with tool_choice.mode " +
                            v1::ToolChoice::Mode_Name(choice.mode()) +
                            ", which binds the reply by itself: expected AUTO or NONE");
  return {};
}

Result<void> add_arguments(const v1::ChatRequest& request, Json* context) {
  if (!request.template_arguments().empty()) {
    TRY_ASSIGN(Json more, parse_object(request.template_arguments(), "template_arguments"));
    for (auto& [name, value] : more.items()) {
      if (context->contains(name))
        return invalid_argument("template_arguments." + name +
                                " is set: expected a name that the server does not give itself");
      (*context)[name] = std::move(value);
    }
  }
  if (request.has_enable_thinking()) {
    if (context->contains("enable_thinking"))
      return invalid_argument(
          "template_arguments.enable_thinking is set: expected it once, and the request has "
          "enable_thinking");
    (*context)["enable_thinking"] = request.enable_thinking();
  }
  return {};
}

}  // namespace

Result<Conversation> read_conversation(const v1::ChatRequest& request) {
  if (request.messages().empty())
    return invalid_argument("messages is empty: expected at least one");
  Conversation made;
  TRY_ASSIGN(made.tools, ToolSet::create(request));
  TRY(check_choice(request, made.tools));
  if (request.tool_choice().mode() == v1::ToolChoice::NONE) made.tools = ToolSet();

  Json messages = Json::array();
  for (int i = 0; i < request.messages_size(); ++i) {
    const std::string field = "messages[" + std::to_string(i) + "]";
    TRY_ASSIGN(Json message, read_message(request.messages(i), field));
    messages.push_back(std::move(message));
  }
  made.context = {{"messages", std::move(messages)},
                  {"tools", tools_json(made.tools)},
                  {"documents", nullptr},
                  {"add_generation_prompt", true}};
  TRY(add_arguments(request, &made.context));
  return made;
}

}  // namespace mimo::chat
