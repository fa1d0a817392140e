#pragma once

#include <mutex>

#include "base/clock.h"
#include "coordinator/api/readiness.h"
#include "coordinator/api/server_facts.h"
#include "coordinator/sessions/admission.h"
#include "coordinator/sessions/sessions.h"
#include "mimo/v1/inference.grpc.pb.h"

namespace mimo::coordinator {

// mimo.v1.Inference.
//
// Thread:   gRPC's; no call blocks.
// Lifetime: sessions, admission and clock outlive it.
class InferenceService final : public v1::Inference::CallbackService {
 public:
  InferenceService(ServerFacts facts, double stall_s, Sessions& sessions, Admission& admission,
                   const Clock& clock);

  grpc::ServerWriteReactor<v1::GenerateResponse>* Generate(
      grpc::CallbackServerContext* context, const v1::GenerateRequest* request) override;
  grpc::ServerUnaryReactor* Abort(grpc::CallbackServerContext* context,
                                  const v1::AbortRequest* request,
                                  v1::AbortResponse* response) override;
  grpc::ServerUnaryReactor* GetModelInfo(grpc::CallbackServerContext* context,
                                         const v1::GetModelInfoRequest* request,
                                         v1::ModelInfo* response) override;
  grpc::ServerUnaryReactor* GetServerInfo(grpc::CallbackServerContext* context,
                                          const v1::GetServerInfoRequest* request,
                                          v1::ServerInfo* response) override;
  grpc::ServerUnaryReactor* GetLoad(grpc::CallbackServerContext* context,
                                    const v1::GetLoadRequest* request,
                                    v1::LoadInfo* response) override;

  // As of now.
  Readiness readiness();

 private:
  Readiness readiness_of(const GroupStatus& status);

  const ServerFacts facts_;
  Sessions& sessions_;
  Admission& admission_;
  const Clock& clock_;
  std::mutex tracker_mutex_;  // probes and calls ask at the same time, each for its own answer
  ReadinessTracker tracker_;
};

}  // namespace mimo::coordinator
