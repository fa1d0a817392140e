#include "kernels/cuda/route/route_ops.h"

#include <algorithm>

#include "base/check.h"
#include "kernels/cuda/route/plan_limits.h"
#include "kernels/cuda/route/route_plan.h"
#include "kernels/cuda/rows/folded_norm.h"

namespace mimo::kernels::cuda {
namespace {

using router::RouteKernel;

void check_params(const RouteParams& p) {
  CHECK_GE(p.num_tokens, 0);
  CHECK_GT(p.num_experts, 0);
  CHECK_LE(p.num_experts, router::kRouteExpertsMax);
  CHECK_GT(p.hidden, 0);
  CHECK_EQ(p.hidden % 8, 0);
  CHECK_GT(p.num_groups, 0);
  CHECK_EQ(p.num_experts % p.num_groups, 0);
  CHECK(p.num_groups == 1 || p.num_experts / p.num_groups >= 2);
  CHECK_GT(p.groups_per_token, 0);
  CHECK_LE(p.groups_per_token, p.num_groups);
  CHECK_GT(p.experts_per_token, 0);
  CHECK_LE(p.experts_per_token, router::kChosenMax);
  CHECK_LE(p.experts_per_token, p.num_experts / p.num_groups * p.groups_per_token);
  CHECK(p.runs.context == nullptr || p.runs.row_run != nullptr);
}

}  // namespace

Result<void> RouteOps::prepare(const StepLimits& limits) {
  if (limits.num_experts == 0) return {};
  num_scores_ = router::route_scores_max(limits.tokens_max, limits.num_experts, context_.num_sms(),
                                         context_.options().batch_invariant);
  TRY_ASSIGN(scores_, context_.allocate_array<float>(num_scores_, Purpose::kWorkspace));
  // Not by limits.experts_per_token, which not every user of a router gives.
  num_box_tokens_ = std::min(limits.tokens_max, router::kSplitTokensMax);
  num_box_words_ = router::route_box_words_max(limits.tokens_max, limits.num_experts);
  TRY_ASSIGN(score_box_, context_.allocate_array<uint32_t>(num_box_words_, Purpose::kWorkspace));
  TRY_ASSIGN(id_box_, context_.allocate_array<uint32_t>(
                          int64_t{num_box_tokens_} * router::kChosenMax, Purpose::kWorkspace));
  router::prepare_few();
  router::prepare_split();
  num_cluster_places_ = router::prepare_cluster();
  router::prepare_tile();
  return {};
}

// Every launch but that of the wide tiles can make a plan, if it fits a block.
bool RouteOps::makes_plan(const RouteParams& p, RouteKernel kernel) const {
  if (plans_ == nullptr || kernel == RouteKernel::kTiles) return false;
  const ExpertPlanParams& wanted = plans_->wanted();
  return wanted.num_tokens == p.num_tokens && wanted.expert_ids == p.expert_ids &&
         wanted.experts_per_token == p.experts_per_token &&
         router::fits_plan_block(wanted, p.num_tokens);
}

bool RouteOps::folds_norm(const RouteParams& p) const {
  return router::folds_norm(
      {p.num_tokens, p.num_experts, p.hidden, p.num_groups, context_.options().batch_invariant});
}

router::AskedExperts RouteOps::asked_of(const RouteParams& p, RouteKernel kernel) const {
  const DeviceMatrix& first = context_.stack(p.experts->gate_up);
  const auto* const weights = static_cast<const uint8_t*>(first.values);
  const int64_t expert_bytes = first.value_bytes();
  const uint32_t bytes =
      router::asked_expert_bytes({.num_tokens = p.num_tokens, .num_experts = p.num_experts}, kernel,
                                 p.experts_per_token, expert_bytes);
  const bool aligned = reinterpret_cast<uintptr_t>(weights) % 16 == 0 && expert_bytes % 16 == 0;
  if (bytes == 0 || !aligned) return {};
  return {weights, expert_bytes, first.count, bytes};
}

void RouteOps::route(const RouteParams& p, const AddNormParams* norm) {
  check_params(p);
  if (plans_ != nullptr) plans_->set_made(false);
  if (p.num_tokens == 0) return;
  router::RouteWork work;
  work.route = p;
  work.cut = router::plan_route(
      {p.num_tokens, p.num_experts, p.hidden, p.num_groups, context_.options().batch_invariant},
      context_.num_sms(), num_cluster_places_);
  work.scores = scores_;
  work.score_box = score_box_;
  work.id_box = id_box_;
  if (norm != nullptr) {
    CHECK(folds_norm(p) && can_fold(*norm) && reads_all(*norm, p));
    work.norm = *norm;
  }
  const int64_t num_sums = int64_t{work.cut.splits} * p.num_tokens;
  if (work.cut.kernel == RouteKernel::kTiles) {
    CHECK_LE(num_sums * p.num_experts, num_scores_);
  } else {
    CHECK_LE(p.num_tokens, num_box_tokens_);
    CHECK_LE(int64_t{work.cut.boxes} * p.num_tokens * work.cut.score_pitch, num_box_words_);
  }
  if (makes_plan(p, work.cut.kernel)) {
    work.plan = plans_->wanted();
    plans_->set_made(true);
  }
  if (p.experts != nullptr) work.asked = asked_of(p, work.cut.kernel);
  const cudaStream_t stream = context_.stream();
  switch (work.cut.kernel) {
    case RouteKernel::kFew:
      return router::launch_few(work, stream);
    case RouteKernel::kSplit:
      return router::launch_split(work, stream);
    case RouteKernel::kCluster:
      return router::launch_cluster(work, stream);
    case RouteKernel::kTiles:
      return router::launch_tiles(work, stream);
  }
}

}  // namespace mimo::kernels::cuda
