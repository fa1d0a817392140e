#pragma once

#include <memory>
#include <string>
#include <vector>

#include "coordinator/chat/prompter.h"
#include "coordinator/chat/tool_set.h"
#include "mimo/v1/chat.pb.h"

namespace mimo::chat {

// A request whose tools have a parameter of every kind.
inline v1::ChatRequest request_with_tools() {
  v1::ChatRequest request;
  v1::ChatMessage* message = request.add_messages();
  message->set_role("user");
  message->set_content("What is the weather in Paris?");
  v1::Tool* weather = request.add_tools();
  weather->set_name("get_weather");
  weather->set_description("Get the weather of a city");
  weather->set_parameters(R"({"type": "object", "properties": {
      "city": {"type": "string"}, "days": {"type": "integer"}, "warm": {"type": "boolean"},
      "limit": {"type": "number"}, "tags": {"type": "array"}, "where": {"type": "object"},
      "unit": {"type": "string"}}, "required": ["city"]})");
  v1::Tool* time = request.add_tools();
  time->set_name("get_time");
  return request;
}

inline ToolSet all_tools() { return ToolSet::create(request_with_tools()).value(); }

inline std::unique_ptr<Prompter> tiny_prompter() {
  return Prompter::load(MIMO_SOURCE_DIR "/models/tiny").value();
}

// A call as its model writes it.
inline std::string call_text(const std::string& name,
                             const std::vector<std::pair<std::string, std::string>>& parameters) {
  std::string text = "<tool_call>\n<function=" + name + ">";
  for (const auto& [key, value] : parameters)
    text += "\n<parameter=" + key + ">" + value + "</parameter>";
  return text + "\n</function>\n</tool_call>";
}

}  // namespace mimo::chat
