#pragma once

#include <grpcpp/grpcpp.h>

#include <string>
#include <utility>

#include "base/result.h"
#include "coordinator/api/chat_doors.h"
#include "coordinator/sessions/sessions.h"
#include "mimo/v1/chat.grpc.pb.h"

namespace mimo::coordinator {

// mimo.v1.Chat.
//
// Thread:   gRPC's; a conversation is rendered where its call came in.
// Lifetime: sessions outlive it.
class ChatService final : public v1::Chat::CallbackService {
 public:
  ChatService(ChatDoors doors, v1::ModelInfo model, Sessions& sessions)
      : doors_(doors), model_(std::move(model)), sessions_(sessions) {}

  grpc::ServerWriteReactor<v1::ChatResponse>* Complete(grpc::CallbackServerContext* context,
                                                       const v1::ChatRequest* request) override;
  grpc::ServerUnaryReactor* Render(grpc::CallbackServerContext* context,
                                   const v1::ChatRequest* request,
                                   v1::RenderResponse* response) override;
  grpc::ServerUnaryReactor* Tokenize(grpc::CallbackServerContext* context,
                                     const v1::TokenizeRequest* request,
                                     v1::TokenizeResponse* response) override;
  grpc::ServerUnaryReactor* Detokenize(grpc::CallbackServerContext* context,
                                       const v1::DetokenizeRequest* request,
                                       v1::DetokenizeResponse* response) override;

 private:
  Result<void> check(const std::string& model) const;
  Result<void> render(const v1::ChatRequest& request, v1::RenderResponse* response) const;
  Result<void> tokenize(const v1::TokenizeRequest& request, v1::TokenizeResponse* response) const;
  Result<void> detokenize(const v1::DetokenizeRequest& request,
                          v1::DetokenizeResponse* response) const;

  const ChatDoors doors_;
  const v1::ModelInfo model_;
  Sessions& sessions_;
};

}  // namespace mimo::coordinator
