#include "coordinator/api/wire_status.h"

#include <string>

#include "mimo/v1/rpc_status.pb.h"

namespace mimo::coordinator {
namespace {

void add_detail(const google::protobuf::Message& detail, const std::string& type,
                v1::RpcStatus* status) {
  google::protobuf::Any* any = status->add_details();
  any->set_type_url("type.googleapis.com/" + type);
  any->set_value(detail.SerializeAsString());
}

}  // namespace

grpc::Status wire_status(const RequestError& error) {
  v1::RpcStatus status;
  status.set_code(static_cast<int32_t>(error.error.code));
  status.set_message(error.error.message);
  add_detail(error.event(), "mimo.v1.ErrorEvent", &status);
  if (error.retry_after_ms >= 0) {
    v1::RpcRetryInfo retry;
    retry.mutable_retry_delay()->set_seconds(error.retry_after_ms / 1000);
    const auto ms = static_cast<int32_t>(error.retry_after_ms % 1000);
    retry.mutable_retry_delay()->set_nanos(ms * 1'000'000);
    add_detail(retry, "google.rpc.RetryInfo", &status);
  }
  return {static_cast<grpc::StatusCode>(error.error.code), error.error.message,
          status.SerializeAsString()};
}

void add_pushback(const RequestError& error, grpc::ServerContextBase* context) {
  if (error.retry_after_ms < 0) return;
  context->AddTrailingMetadata("grpc-retry-pushback-ms", std::to_string(error.retry_after_ms));
}

}  // namespace mimo::coordinator
