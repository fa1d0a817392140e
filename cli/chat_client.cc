#include "cli/chat_client.h"

#include <grpcpp/grpcpp.h>

#include <chrono>

#include "mimo/v1/chat.grpc.pb.h"

namespace mimo::cli {

struct ChatClient::Stub {
  std::unique_ptr<v1::Chat::Stub> chat;
};

struct ChatClient::Call::Context {
  grpc::ClientContext context;
};

ChatClient::ChatClient(const std::string& server)
    : stub_(new Stub{
          v1::Chat::NewStub(grpc::CreateChannel(server, grpc::InsecureChannelCredentials()))}) {}

ChatClient::~ChatClient() = default;

ChatClient::Call::Call(ChatClient& client, double timeout_s)
    : client_(client), context_(std::make_unique<Context>()) {
  context_->context.set_deadline(std::chrono::system_clock::now() +
                                 std::chrono::duration_cast<std::chrono::system_clock::duration>(
                                     std::chrono::duration<double>(timeout_s)));
}

ChatClient::Call::~Call() = default;

Result<void> ChatClient::Call::complete(
    const v1::ChatRequest& request,
    const std::function<void(const v1::ChatResponse&)>& on_response) {
  const auto reader = client_.stub_->chat->Complete(&context_->context, request);
  v1::ChatResponse response;
  while (reader->Read(&response)) on_response(response);
  const grpc::Status status = reader->Finish();
  if (status.ok()) return {};
  return Error{static_cast<Code>(status.error_code()), status.error_message()};
}

// TryCancel may come before the call begins, during it and after it, from any thread.
void ChatClient::Call::cancel() { context_->context.TryCancel(); }

}  // namespace mimo::cli
