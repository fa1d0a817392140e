#pragma once

#include <memory>
#include <vector>

#include "base/result.h"
#include "mimo/v1/chat.pb.h"
#include "mimo/v1/inference.pb.h"

namespace mimo::chat {

class Prompter;

// One reply to a conversation: the request as the engine's door takes it, and what comes back as
// the chat's events. gRPC and HTTP have this one object behind them.
//
// Thread:    one at a time.
// Invariant: what take() handed out is never taken back; the same tokens give the same events
//            however they were split into messages.
class ChatTurn final {
 public:
  // kInvalidArgument naming the field; the template's own message when it refuses the conversation.
  static Result<std::unique_ptr<ChatTurn>> create(const Prompter& prompter,
                                                  const v1::ChatRequest& request);
  ~ChatTurn();
  ChatTurn(const ChatTurn&) = delete;
  ChatTurn& operator=(const ChatTurn&) = delete;

  // For Sessions::open(). Its text is the rendered prompt.
  const v1::GenerateRequest& request() const;

  // What `response` makes certain, behind `out`.
  void take(v1::GenerateResponse response, std::vector<v1::ChatResponse>* out);

 private:
  struct State;
  explicit ChatTurn(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace mimo::chat
