#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>

#include "coordinator/sessions/live_session.h"
#include "coordinator/sessions/sessions.h"
#include "mimo/v1/inference.grpc.pb.h"

namespace mimo::coordinator {

// One Generate stream: writes what its session's outbox has, one message at a time, and ends with
// the session's status.
//
// Thread:    gRPC's and the events thread; the session's mutex guards all members.
// Lifetime:  deletes itself when gRPC is done with the call; `sessions` outlives every call.
class GenerateReactor final : public grpc::ServerWriteReactor<v1::GenerateResponse>,
                              public StreamWriter {
 public:
  GenerateReactor(grpc::CallbackServerContext* context, Sessions& sessions);

  void open(const v1::GenerateRequest& request) { sessions_.open(request, live_); }

  void wake() override;
  void cut() override;

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  void finish(bool with_message);

  grpc::CallbackServerContext* context_;
  Sessions& sessions_;
  // Shared with the table and the events thread, which may hold it when the call is over.
  std::shared_ptr<LiveSession> live_;
  v1::GenerateResponse message_;  // being written
  bool writing_ = false;
  bool wrote_ = false;  // a first message, and the headers before it
  bool finishing_ = false;
  bool broken_ = false;  // a write has failed: nothing more arrives
};

}  // namespace mimo::coordinator
