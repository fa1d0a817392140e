#pragma once

#include <memory>
#include <string>
#include <vector>

#include "coordinator/chat/chat_turn.h"
#include "coordinator/http/chat_format.h"
#include "coordinator/http/reply.h"

namespace mimo::http {

// One turn of a chat: the engine's messages through the turn, its events in OpenAI's form.
class ChatReply final : public Reply {
 public:
  ChatReply(std::unique_ptr<chat::ChatTurn> turn, ReplyFacts facts)
      : turn_(std::move(turn)), streamed_(facts.stream.stream) {
    if (streamed_) {
      format_ = std::make_unique<ChatChunks>(std::move(facts));
    } else {
      format_ = std::make_unique<ChatBody>(std::move(facts));
    }
  }

  bool streamed() const override { return streamed_; }
  void take(int32_t, v1::GenerateResponse message, std::string* out) override {
    events_.clear();
    turn_->take(std::move(message), &events_);
    for (const v1::ChatResponse& event : events_) format_->take(event, out);
  }
  bool overflowed() const override { return format_->overflowed(); }
  void finish(std::string* out) override { format_->finish(out); }

 private:
  std::unique_ptr<chat::ChatTurn> turn_;
  const bool streamed_;
  std::unique_ptr<ChatFormat> format_;
  std::vector<v1::ChatResponse> events_;
};

}  // namespace mimo::http
