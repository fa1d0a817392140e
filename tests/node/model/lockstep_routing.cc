#include "lockstep_routing.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "forward_ops.h"

namespace mimo::node::model_test {
namespace {

class RoutingOps final : public ForwardOps {
 public:
  RoutingOps(std::unique_ptr<kernels::Ops> ops, Routing& routing, RoutingUse use)
      : ForwardOps(std::move(ops)), routing_(routing), use_(use) {}

  void embed(const kernels::EmbedParams& p) override {
    layer_ = 0;
    ops_->embed(p);
  }
  void route(const kernels::RouteParams& p) override;

 private:
  template <typename T>
  std::vector<T> read(const T* from, int64_t count) {
    std::vector<T> out(static_cast<size_t>(count));
    ops_->download(out.data(), from, count * int64_t{sizeof(T)});
    return out;
  }

  Routing& routing_;
  const RoutingUse use_;
  int32_t layer_ = 0;
};

void RoutingOps::route(const kernels::RouteParams& p) {
  ops_->route(p);
  const int32_t width = p.experts_per_token;
  const int64_t count = int64_t{p.num_tokens} * width;
  std::vector<int32_t> ids = read(p.expert_ids, count);
  std::vector<float> weights = read(p.expert_weights, count);
  const auto row_run = read(p.runs.row_run, p.num_tokens);
  const auto row_begin = read(p.runs.row_begin, p.runs.num_runs + 1);
  const auto context = read(p.runs.context, p.runs.num_runs);
  const auto slot = read(p.runs.slot, p.runs.num_runs);
  for (int32_t row = 0; row < p.num_tokens; ++row) {
    const auto run = static_cast<size_t>(row_run[static_cast<size_t>(row)]);
    if (context[run] == 0) continue;
    const int32_t position = context[run] - (row_begin[run + 1] - row);
    const std::tuple key(slot[run], position, layer_);
    const auto own_ids = ids.begin() + int64_t{row} * width;
    const auto own_weights = weights.begin() + int64_t{row} * width;
    if (use_ == RoutingUse::kKeep) {
      routing_.choices[key] = {{own_ids, own_ids + width}, {own_weights, own_weights + width}};
      continue;
    }
    const auto found = routing_.choices.find(key);
    CHECK(found != routing_.choices.end());
    std::copy(found->second.ids.begin(), found->second.ids.end(), own_ids);
    std::copy(found->second.weights.begin(), found->second.weights.end(), own_weights);
  }
  ++layer_;
  if (use_ == RoutingUse::kKeep) return;
  ops_->upload(p.expert_ids, ids.data(), count * int64_t{sizeof(int32_t)});
  ops_->upload(p.expert_weights, weights.data(), count * int64_t{sizeof(float)});
}

}  // namespace

std::unique_ptr<kernels::Ops> make_routing_ops(std::unique_ptr<kernels::Ops> ops, Routing& routing,
                                               RoutingUse use) {
  return std::make_unique<RoutingOps>(std::move(ops), routing, use);
}

}  // namespace mimo::node::model_test
