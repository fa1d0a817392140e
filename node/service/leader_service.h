#pragma once

#include <cstdint>
#include <memory>

#include "mimo/v1/cluster.grpc.pb.h"
#include "node/service/leader_desk.h"

namespace mimo::node {

// The Leader service of a worker: streams between the coordinator and the desk.
//
// Thread:    any. Lifetime: the desk outlives it; the server's shutdown ends its streams.
class LeaderService final : public v1::Leader::CallbackService {
 public:
  // `waiting_bytes_max`: of events that wait for a coordinator which reads too slowly. More end its
  // stream with kResourceExhausted; nothing is left out silently.
  explicit LeaderService(LeaderDesk& desk, int64_t waiting_bytes_max = 256ll << 20)
      : desk_(desk), waiting_bytes_max_(waiting_bytes_max) {}

  grpc::ServerBidiReactor<v1::LeaderRequest, v1::LeaderEvents>* Serve(
      grpc::CallbackServerContext* context) override;

 private:
  LeaderDesk& desk_;
  const int64_t waiting_bytes_max_;
};

}  // namespace mimo::node
