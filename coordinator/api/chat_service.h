#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "base/result.h"
#include "coordinator/api/chat_doors.h"
#include "coordinator/chat/chat_turn.h"
#include "coordinator/sessions/sessions.h"
#include "coordinator/sessions/work_pool.h"
#include "mimo/v1/chat.grpc.pb.h"

namespace mimo::coordinator {

// mimo.v1.Chat.
//
// Thread:   gRPC's; what is larger than a few KB is read, rendered and encoded by the readers.
// Lifetime: sessions outlive it, and so do the readers, which are stopped before it is gone.
class ChatService final : public v1::Chat::CallbackService {
 public:
  ChatService(ChatDoors doors, v1::ModelInfo model, Sessions& sessions, WorkPool& readers)
      : doors_(doors), model_(std::move(model)), sessions_(sessions), readers_(readers) {}

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
  // Does it here when the request is small, and else leaves it to a reader; false when too much
  // waits for them.
  bool run(const google::protobuf::Message& request, std::function<void()> work);
  grpc::ServerUnaryReactor* answer(grpc::CallbackServerContext* context,
                                   const google::protobuf::Message& request,
                                   std::function<Result<void>()> work);
  Result<std::unique_ptr<chat::ChatTurn>> turn_of(const v1::ChatRequest& request) const;
  Result<void> check(const std::string& model) const;
  Result<void> check_bytes(const char* field, const std::string& text) const;
  Result<void> render(const v1::ChatRequest& request, v1::RenderResponse* response) const;
  Result<void> tokenize(const v1::TokenizeRequest& request, v1::TokenizeResponse* response) const;
  Result<void> detokenize(const v1::DetokenizeRequest& request,
                          v1::DetokenizeResponse* response) const;

  const ChatDoors doors_;
  const v1::ModelInfo model_;
  Sessions& sessions_;
  WorkPool& readers_;
};

}  // namespace mimo::coordinator
