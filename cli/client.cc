#include "cli/client.h"

#include <grpcpp/grpcpp.h>

#include <chrono>

namespace mimo::cli {
namespace {

constexpr int kMessageBytesMax = 64 << 20;  // prompt logits of a long prompt are one message

Error to_error(const grpc::Status& status) {
  return {static_cast<Code>(status.error_code()), status.error_message()};
}

void set_deadline(grpc::ClientContext& context, double timeout_s) {
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::duration_cast<std::chrono::system_clock::duration>(
                           std::chrono::duration<double>(timeout_s)));
}

template <typename Response, typename Request>
Result<Response> call(v1::Inference::Stub& stub,
                      grpc::Status (v1::Inference::Stub::*method)(grpc::ClientContext*,
                                                                  const Request&, Response*),
                      const Request& request, double timeout_s) {
  grpc::ClientContext context;
  set_deadline(context, timeout_s);
  Response response;
  const grpc::Status status = (stub.*method)(&context, request, &response);
  if (!status.ok()) return to_error(status);
  return response;
}

}  // namespace

Client::Client(const std::string& server) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMessageBytesMax);
  arguments.SetMaxSendMessageSize(kMessageBytesMax);
  stub_ = v1::Inference::NewStub(
      grpc::CreateCustomChannel(server, grpc::InsecureChannelCredentials(), arguments));
}

Result<void> Client::generate(const v1::GenerateRequest& request, double timeout_s,
                              const std::function<bool(const v1::GenerateResponse&)>& on_response) {
  grpc::ClientContext context;
  set_deadline(context, timeout_s);
  const auto reader = stub_->Generate(&context, request);
  v1::GenerateResponse response;
  bool stopped = false;
  while (reader->Read(&response)) {
    if (stopped || on_response(response)) continue;
    stopped = true;
    context.TryCancel();  // what is on its way is read to the end
  }
  const grpc::Status status = reader->Finish();
  if (stopped) return Error{Code::kCancelled, "stopped by the caller"};
  if (!status.ok()) return to_error(status);
  return {};
}

Result<v1::ModelInfo> Client::model_info(double timeout_s) {
  return call<v1::ModelInfo>(*stub_, &v1::Inference::Stub::GetModelInfo, v1::GetModelInfoRequest(),
                             timeout_s);
}

Result<v1::ServerInfo> Client::server_info(double timeout_s) {
  return call<v1::ServerInfo>(*stub_, &v1::Inference::Stub::GetServerInfo,
                              v1::GetServerInfoRequest(), timeout_s);
}

Result<v1::LoadInfo> Client::load(double timeout_s) {
  return call<v1::LoadInfo>(*stub_, &v1::Inference::Stub::GetLoad, v1::GetLoadRequest(), timeout_s);
}

v1::GenerateRequest make_request(const SamplingOptions& o) {
  v1::GenerateRequest request;
  v1::Sampling& sampling = *request.mutable_sampling();
  if (o.temperature) sampling.set_temperature(*o.temperature);
  if (o.top_p) sampling.set_top_p(*o.top_p);
  if (o.top_k) sampling.set_top_k(*o.top_k);
  if (o.min_p) sampling.set_min_p(*o.min_p);
  if (o.presence_penalty) sampling.set_presence_penalty(*o.presence_penalty);
  if (o.frequency_penalty) sampling.set_frequency_penalty(*o.frequency_penalty);
  if (o.repetition_penalty) sampling.set_repetition_penalty(*o.repetition_penalty);
  if (o.seed) sampling.set_seed(*o.seed);
  if (o.num_sequences) sampling.set_num_sequences(*o.num_sequences);
  v1::Stopping& stopping = *request.mutable_stopping();
  if (o.max_tokens) stopping.set_max_tokens(*o.max_tokens);
  if (o.min_tokens) stopping.set_min_tokens(*o.min_tokens);
  for (const std::string& text : o.stop) stopping.add_stop_text(text);
  for (const int32_t id : o.stop_token_ids) stopping.add_stop_token_ids(id);
  if (o.ignore_eos) stopping.set_ignore_eos(true);
  return request;
}

}  // namespace mimo::cli
