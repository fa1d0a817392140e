#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "coordinator/chat/reply_parser.h"

namespace {

using mimo::chat::ReplyPiece;

mimo::chat::ToolSet make_tools() {
  mimo::v1::ChatRequest request;
  mimo::v1::Tool* tool = request.add_tools();
  tool->set_name("f");
  tool->set_parameters(R"({"type": "object", "properties": {
      "s": {"type": "string"}, "i": {"type": "integer"}, "n": {"type": ["number", "null"]},
      "b": {"type": "boolean"}, "a": {"type": "array"}, "o": {"type": "object"}}})");
  request.add_tools()->set_name("g");
  return mimo::chat::ToolSet::create(request).value();
}

void require(bool condition) {
  if (!condition) __builtin_trap();
}

// A reply without calls is given out in its order, but for its thoughts' two tags and blanks before
// them.
void require_nothing_lost(const std::string& text, const ReplyPiece& piece) {
  if (!piece.calls.empty()) return;
  const std::string given = piece.reasoning + piece.content;
  size_t at = 0;
  for (const char c : text)
    if (at < given.size() && given[at] == c) ++at;
  require(at == given.size());
  const size_t blanks = std::min(text.find_first_not_of(" \t\r\n"), text.size());
  require(text.size() - given.size() <= blanks + sizeof("<think></think>") - 1);
}

}  // namespace

// A reply of any bytes, split anywhere: the same events as in one piece, and calls that are JSON.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const mimo::chat::ToolSet tools = make_tools();
  if (size < 2) return 0;
  const auto start = static_cast<mimo::chat::ReplyStart>(data[0] % 3);
  const bool one_call = data[0] >= 128;
  uint32_t random = data[1] + 1u;
  const std::string text(reinterpret_cast<const char*>(data) + 2, size - 2);

  ReplyPiece whole;
  mimo::chat::ReplyParser parser(start, tools, one_call);
  parser.push(text, &whole);
  parser.finish(&whole);
  ReplyPiece split;
  mimo::chat::ReplyParser again(start, tools, one_call);
  for (size_t at = 0; at < text.size();) {
    random = random * 1664525 + 1013904223;
    const size_t count = 1 + (random >> 16) % (data[1] % 16 + 1);
    again.push(std::string_view(text).substr(at, count), &split);
    at += count;
  }
  again.finish(&split);

  require(split.reasoning == whole.reasoning && split.content == whole.content);
  require(split.calls.size() == whole.calls.size());
  for (size_t i = 0; i < whole.calls.size(); ++i) {
    require(split.calls[i].name == whole.calls[i].name);
    require(split.calls[i].arguments == whole.calls[i].arguments);
    const auto json = nlohmann::json::parse(whole.calls[i].arguments, nullptr, false);
    require(json.is_object());
  }
  require_nothing_lost(text, whole);
  return 0;
}
