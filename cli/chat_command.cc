#include "cli/chat_command.h"

#include <charconv>

namespace mimo::cli {
namespace {

using Kind = ChatCommand::Kind;

std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

Result<ChatCommand> parse_system(std::string_view argument) {
  if (argument.empty()) return ChatCommand{.kind = Kind::kShowSystem};
  return ChatCommand{.kind = Kind::kSetSystem,
                     .text = argument == "-" ? std::string() : std::string(argument)};
}

Result<ChatCommand> parse_think(std::string_view argument) {
  if (argument != "on" && argument != "off") {
    return invalid_argument("/think " + std::string(argument) + ": expected on or off");
  }
  return ChatCommand{.kind = Kind::kThink, .think = argument == "on"};
}

Result<ChatCommand> parse_temperature(std::string_view argument) {
  ChatCommand command{.kind = Kind::kTemperature};
  if (argument == "default") return command;
  float value = 0;
  const char* end = argument.data() + argument.size();
  const auto read = std::from_chars(argument.data(), end, value);
  if (argument.empty() || read.ec != std::errc() || read.ptr != end || !(value >= 0) ||
      value > 100) {
    return invalid_argument("/temperature " + std::string(argument) +
                            ": expected a number from 0 to 100, or default");
  }
  command.temperature = value;
  return command;
}

Result<ChatCommand> parse_bare(Kind kind, std::string_view name, std::string_view argument) {
  if (argument.empty()) return ChatCommand{.kind = kind};
  return invalid_argument(std::string(name) + " " + std::string(argument) +
                          ": expected nothing behind " + std::string(name));
}

}  // namespace

Result<ChatCommand> parse_chat_line(std::string_view line) {
  if (line.substr(0, 1) != "/") return ChatCommand{.kind = Kind::kSay, .text = std::string(line)};
  if (line.substr(0, 2) == "//") {
    return ChatCommand{.kind = Kind::kSay, .text = std::string(line.substr(1))};
  }
  const std::string_view words = trimmed(line);
  const size_t space = words.find_first_of(" \t\n");
  const std::string_view name = words.substr(0, space);
  const std::string_view argument =
      space == std::string_view::npos ? std::string_view() : trimmed(words.substr(space));
  if (name == "/system") return parse_system(argument);
  if (name == "/think") return parse_think(argument);
  if (name == "/temperature") return parse_temperature(argument);
  if (name == "/reset") return parse_bare(Kind::kReset, name, argument);
  if (name == "/help") return parse_bare(Kind::kHelp, name, argument);
  if (name == "/exit" || name == "/quit") return parse_bare(Kind::kExit, name, argument);
  return invalid_argument(std::string(name) + ": no such command; /help lists them");
}

std::string_view chat_help() {
  return "/reset               forget what was said\n"
         "/system TEXT         set the system prompt; - removes it, nothing shows it\n"
         "/think on|off        let the model think before it answers\n"
         "/temperature NUMBER  0 = greedy; default = the server's\n"
         "/help                this list\n"
         "/exit                leave, as Ctrl-D does\n"
         "//...                a message that begins with /\n"
         "Alt-Enter begins a new line, and so does \\ at a line's end; a pasted text stays one "
         "message.\n"
         "Ctrl-C stops an answer, or empties the line.\n";
}

}  // namespace mimo::cli
