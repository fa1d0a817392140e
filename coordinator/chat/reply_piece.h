#pragma once

#include <string>
#include <vector>

namespace mimo::chat {

struct CallText {
  std::string name;
  std::string arguments;  // a JSON object
};

// What more text has made certain of a reply.
struct ReplyPiece {
  std::string reasoning;
  std::string content;
  std::vector<CallText> calls;

  bool empty() const { return reasoning.empty() && content.empty() && calls.empty(); }
};

}  // namespace mimo::chat
