#pragma once

#include <memory>

#include "mimo/v1/cluster.grpc.pb.h"
#include "node/service/leader_desk.h"

namespace mimo::node {

// The Leader service of a worker: streams between the coordinator and the desk.
//
// Thread:    any. Lifetime: the desk outlives it; the server's shutdown ends its streams.
class LeaderService final : public v1::Leader::CallbackService {
 public:
  explicit LeaderService(LeaderDesk& desk) : desk_(desk) {}

  grpc::ServerBidiReactor<v1::LeaderRequest, v1::LeaderEvents>* Serve(
      grpc::CallbackServerContext* context) override;

 private:
  LeaderDesk& desk_;
};

}  // namespace mimo::node
