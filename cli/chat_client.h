#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "mimo/v1/chat.pb.h"

namespace mimo::cli {

// A server's chats, called and waited for. gRPC's headers stay in its source.
//
// Thread: one; a Call's cancel() any.
class ChatClient {
 public:
  explicit ChatClient(const std::string& server);
  ~ChatClient();
  ChatClient(const ChatClient&) = delete;
  ChatClient& operator=(const ChatClient&) = delete;

  // One answer. The client outlives it.
  class Call {
   public:
    Call(ChatClient& client, double timeout_s);
    ~Call();
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;

    // Every response in order. An error when the stream does not end with OK; kCancelled after
    // cancel().
    Result<void> complete(const v1::ChatRequest& request,
                          const std::function<void(const v1::ChatResponse&)>& on_response);
    void cancel();

   private:
    struct Context;
    ChatClient& client_;
    const std::unique_ptr<Context> context_;
  };

 private:
  struct Stub;
  const std::unique_ptr<Stub> stub_;
};

}  // namespace mimo::cli
