// Renders what it is told on its standard input, for the comparison with Jinja: a line is a JSON
// object {"template", "context", "now": [year, month, day, hour, minute, second, weekday,
// yearday]}, and so is each line that comes back: {"text"} or {"error"}.
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "coordinator/template/chat_template.h"

namespace {

using Json = nlohmann::ordered_json;

std::tm time_of(const Json& now) {
  std::tm time{};
  time.tm_year = now[0].get<int>() - 1900;
  time.tm_mon = now[1].get<int>() - 1;
  time.tm_mday = now[2].get<int>();
  time.tm_hour = now[3].get<int>();
  time.tm_min = now[4].get<int>();
  time.tm_sec = now[5].get<int>();
  time.tm_wday = now[6].get<int>();
  time.tm_yday = now[7].get<int>();
  return time;
}

mimo::Result<std::string> rendered(const Json& request) {
  TRY_ASSIGN(const auto parsed, mimo::chat::ChatTemplate::parse(request["template"]));
  return parsed.render(request["context"], time_of(request["now"]));
}

}  // namespace

int main() {
  std::ios::sync_with_stdio(false);
  for (std::string line; std::getline(std::cin, line);) {
    const auto result = rendered(Json::parse(line));
    Json answer;
    if (result.ok()) {
      answer["text"] = result.value();
    } else {
      answer["error"] = result.error().message;
    }
    std::cout << answer.dump() << "\n";
  }
}
