#include "coordinator/api/inference_service.h"

#include <deque>
#include <optional>
#include <string>
#include <utility>

#include "coordinator/api/session_reactor.h"
#include "coordinator/api/wire_status.h"

namespace mimo::coordinator {
namespace {

// A stream of Generate is what the session says.
struct PassOn {
  void operator()(v1::GenerateResponse message, std::deque<v1::GenerateResponse>* out) {
    out->push_back(std::move(message));
  }
};
using GenerateReactor = SessionReactor<v1::GenerateResponse, PassOn>;

grpc::ServerUnaryReactor* answer(grpc::CallbackServerContext* context,
                                 const grpc::Status& status = grpc::Status::OK) {
  auto* reactor = context->DefaultReactor();
  reactor->Finish(status);
  return reactor;
}

grpc::ServerUnaryReactor* refuse(grpc::CallbackServerContext* context, std::string message) {
  return answer(context, wire_status(request_error(invalid_argument(std::move(message)))));
}

}  // namespace

InferenceService::InferenceService(ServerFacts facts, double stall_s, Sessions& sessions,
                                   Admission& admission, const Clock& clock)
    : facts_(std::move(facts)),
      sessions_(sessions),
      admission_(admission),
      clock_(clock),
      tracker_(stall_s) {}

grpc::ServerWriteReactor<v1::GenerateResponse>* InferenceService::Generate(
    grpc::CallbackServerContext* context, const v1::GenerateRequest* request) {
  // Owns itself from here on: OnDone() comes last and deletes it.
  auto* reactor = new GenerateReactor(context, sessions_, PassOn{});
  reactor->open(*request);
  return reactor;
}

grpc::ServerUnaryReactor* InferenceService::Abort(grpc::CallbackServerContext* context,
                                                  const v1::AbortRequest* request,
                                                  v1::AbortResponse* response) {
  std::optional<std::string> request_id;
  switch (request->target_case()) {
    case v1::AbortRequest::kRequestId:
      if (request->request_id().empty())
        return refuse(context, "request_id is empty: expected a request's id");
      request_id = request->request_id();
      break;
    case v1::AbortRequest::kAll:
      if (!request->all()) return refuse(context, "all = false: expected true, or a request_id");
      break;
    case v1::AbortRequest::TARGET_NOT_SET:
      return refuse(context, "target is not set: expected request_id or all");
  }
  const int32_t num_aborted = sessions_.abort(request_id);
  response->set_num_aborted(num_aborted);
  response->set_outcome(num_aborted > 0 ? v1::AbortResponse::ABORTED
                                        : v1::AbortResponse::ALREADY_FINISHED);
  return answer(context);
}

grpc::ServerUnaryReactor* InferenceService::GetModelInfo(grpc::CallbackServerContext* context,
                                                         const v1::GetModelInfoRequest*,
                                                         v1::ModelInfo* response) {
  *response = facts_.model;
  return answer(context);
}

grpc::ServerUnaryReactor* InferenceService::GetServerInfo(grpc::CallbackServerContext* context,
                                                          const v1::GetServerInfoRequest*,
                                                          v1::ServerInfo* response) {
  const GroupStatus status = facts_.status();
  const Readiness ready = readiness_of(status);
  *response = facts_.server;
  response->set_state(ready.state);
  response->set_reason(ready.reason);
  response->set_backend(status.backend);
  response->set_total_kv_pages(status.full_pages);
  response->set_epoch(status.epoch);
  if (status.sequences_max > 0) response->set_max_running_requests(status.sequences_max);
  response->mutable_workers()->Assign(status.workers.begin(), status.workers.end());
  return answer(context);
}

grpc::ServerUnaryReactor* InferenceService::GetLoad(grpc::CallbackServerContext* context,
                                                    const v1::GetLoadRequest*,
                                                    v1::LoadInfo* response) {
  const GroupStatus status = facts_.status();
  const Sessions::Load load = sessions_.load();
  const int32_t used = status.full_pages - status.full_pages_free;
  response->set_running_requests(status.running);
  response->set_queued_requests(status.waiting);
  response->set_used_kv_pages(used);
  response->set_total_kv_pages(status.full_pages);
  response->set_running_tokens(load.running_tokens);
  response->set_waiting_tokens(load.waiting_tokens);
  response->set_kv_usage(kv_usage(status));
  return answer(context);
}

Readiness InferenceService::readiness() { return readiness_of(facts_.status()); }

Readiness InferenceService::readiness_of(const GroupStatus& status) {
  std::lock_guard lock(tracker_mutex_);
  return tracker_.observe(status, admission_.closed(), clock_.now_s());
}

}  // namespace mimo::coordinator
