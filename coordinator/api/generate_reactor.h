#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <memory>

#include "coordinator/sessions/live_session.h"
#include "coordinator/sessions/sessions.h"
#include "mimo/v1/inference.grpc.pb.h"

namespace mimo::coordinator {

// One Generate stream: writes what its session's outbox has, one message at a time, and ends with
// the session's status.
//
// Thread:    gRPC's and the events thread; the session's mutex guards the members.
// Lifetime:  deletes itself when gRPC is done with the call; `sessions` outlives every call.
class GenerateReactor final : public grpc::ServerWriteReactor<v1::GenerateResponse>,
                              public StreamWriter {
 public:
  GenerateReactor(grpc::CallbackServerContext* context, Sessions& sessions);

  void open(const v1::GenerateRequest& request) { sessions_.open(request, live_); }

  bool prepare() override;
  void write() override;
  void cut() override;

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  grpc::CallbackServerContext* context_;
  Sessions& sessions_;
  // Shared with the table and the events thread, which may hold it when the call is over.
  std::shared_ptr<LiveSession> live_;
  // What write() does, and then what gRPC does until OnWriteDone() or OnDone(): nobody else touches
  // the reactor meanwhile, so write() needs no mutex.
  enum class Doing : uint8_t { kNothing, kWriting, kWritingLast, kFinishing };
  Doing doing_ = Doing::kNothing;
  v1::GenerateResponse message_;
  grpc::Status status_;
  bool hold_back_ = false;  // the write may wait for the next
  bool wrote_ = false;      // a first message, and the headers before it
  // gRPC orders the constructor and what write() does before what it reports; this says so where a
  // race detector, which does not see into gRPC, can see it.
  std::atomic<bool> handed_over_{false};
  bool broken_ = false;  // a write has failed: nothing more arrives
};

}  // namespace mimo::coordinator
