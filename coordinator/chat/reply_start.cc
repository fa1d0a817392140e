#include "coordinator/chat/reply_start.h"

namespace mimo::chat {

ReplyStart reply_start(std::string_view prompt) {
  const size_t last = prompt.find_last_not_of(" \t\r\n");
  prompt = last == std::string_view::npos ? std::string_view() : prompt.substr(0, last + 1);
  if (prompt.ends_with(kThinkEnd)) return ReplyStart::kAnswering;
  if (prompt.ends_with(kThinkBegin)) return ReplyStart::kThinking;
  return ReplyStart::kMayThink;
}

}  // namespace mimo::chat
