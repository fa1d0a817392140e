#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <tuple>
#include <vector>

#include "kernels/ops.h"

namespace mimo::node::model_test {

// Which experts each row of a model's MoE layers had, and their weights.
struct Routing {
  struct Choice {
    std::vector<int32_t> ids;
    std::vector<float> weights;
  };
  std::map<std::tuple<int32_t, int32_t, int32_t>, Choice> choices;  // slot, position, MoE layer
};

// `ops` with its own routes left in `routing`, or with routing's in place of its own: a route that
// is not there fails the test. Only for backends whose recorded() runs its body. `routing` outlives
// it.
enum class RoutingUse : uint8_t { kKeep = 0, kForce = 1 };
std::unique_ptr<kernels::Ops> make_routing_ops(std::unique_ptr<kernels::Ops> ops, Routing& routing,
                                               RoutingUse use);

}  // namespace mimo::node::model_test
