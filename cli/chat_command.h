#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace mimo::cli {

// What one line of a chat asks for.
struct ChatCommand {
  enum class Kind { kSay, kReset, kShowSystem, kSetSystem, kThink, kTemperature, kHelp, kExit };
  Kind kind = Kind::kSay;
  std::string text = {};  // kSay: the message; kSetSystem: the prompt, empty = none
  bool think = false;
  std::optional<float> temperature = {};  // kTemperature: none = the server's default
};

// A line that begins with '/' is a command, with "//" a message that begins with '/'; all else is a
// message as it is. kInvalidArgument names what was expected.
Result<ChatCommand> parse_chat_line(std::string_view line);

// What /help prints.
std::string_view chat_help();

}  // namespace mimo::cli
