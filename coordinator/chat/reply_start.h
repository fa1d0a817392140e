#pragma once

#include <cstdint>
#include <string_view>

namespace mimo::chat {

inline constexpr std::string_view kThinkBegin = "<think>";
inline constexpr std::string_view kThinkEnd = "</think>";

// Where in its thoughts a model is when it begins to reply.
enum class ReplyStart : uint8_t {
  kMayThink,  // the prompt says nothing: the reply may begin with <think>
  kThinking,  // the prompt opened the thoughts: all up to </think> are thoughts
  kAnswering  // the prompt closed them: the reply should have none
};

// Told by what the rendered prompt ends with, blanks aside.
ReplyStart reply_start(std::string_view prompt);

}  // namespace mimo::chat
