#pragma once

#include <vector>

#include "mimo/v1/cluster.pb.h"
#include "node/engine/engine.h"

namespace mimo::node {

// Between the wire's messages and the engine's words. Nothing is checked here: the engine refuses.
SequenceRequest to_request(const v1::Submit& submit);
v1::LeaderEvents to_proto(const std::vector<SequenceEvent>& events, int64_t step);
// The event that ends a sequence which the engine did not take.
v1::LeaderEvent refusal(int64_t sequence_id, const Error& error);

}  // namespace mimo::node
