#include <ostream>

#include "kernels/cuda/route/route_ops.h"
#include "tests/kernels/cuda/cuda_support.h"

// The plan that the router's own kernel leaves is the one that plan_experts() makes of its ids.
namespace mimo::kernels::cuda::test {
namespace {

using mimo::kernels::test::random_floats;

struct Case {
  int32_t tokens = 0;
  int32_t num_experts = 256;
  int32_t first_held = 0;
  int32_t num_held = 256;
  int32_t tile_rows = 8;
  int32_t experts_per_token = 8;
  int32_t hidden = 512;
  bool same_token = false;  // all tokens choose the same experts
  int32_t num_groups = 1;
};
std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << "T " << c.tokens << ", E " << c.num_experts << ", held " << c.num_held << " from "
             << c.first_held << ", tile " << c.tile_rows << ", K " << c.experts_per_token;
}

struct HostPlan {
  std::vector<int32_t> offsets;
  std::vector<int32_t> pairs;
  std::vector<int32_t> row_of;
  std::vector<int32_t> tiles;  // four a tile
};

class Fixture {
 public:
  explicit Fixture(const Case& c) : c_(c) {
    ops_.prepare({.tokens_max = c.tokens, .num_experts = c.num_experts}).value();
    std::vector<float> x = random_floats(int64_t{c.tokens} * c.hidden, 1, CpuMode::kDevice);
    for (size_t i = 0; c.same_token && i < x.size(); ++i) {
      x[i] = x[i % static_cast<size_t>(c.hidden)];
    }
    const auto weight = random_floats(int64_t{c.num_experts} * c.hidden, 2, CpuMode::kF32, 0.05f);
    route_.x = device_bf16(*context_, x);
    route_.weight = device_array(*context_, weight);
    route_.bias = device_array(*context_, random_floats(c.num_experts, 3, CpuMode::kF32, 0.1f));
    route_.hidden = c.hidden;
    route_.num_experts = c.num_experts;
    route_.experts_per_token = c.experts_per_token;
    route_.num_groups = c.num_groups;
    route_.groups_per_token = c.num_groups;
    route_.num_tokens = c.tokens;
    route_.expert_ids = poisoned_array<int32_t>(*context_, num_pairs());
    route_.expert_weights = poisoned_array<float>(*context_, num_pairs());
    ops_.share_plans(&plans_);
  }

  int64_t num_pairs() const { return int64_t{c_.tokens} * c_.experts_per_token; }
  int32_t tiles_max() const { return expert_tiles_max(num_pairs(), c_.num_held, c_.tile_rows); }
  // Every other run of two tokens is padding.
  void add_padding() {
    std::vector<int32_t> row_run;
    for (int32_t t = 0; t < c_.tokens; ++t) row_run.push_back(t / 2);
    std::vector<int32_t> context;
    for (int32_t s = 0; s <= c_.tokens / 2; ++s) context.push_back(s % 2 == 1 ? 0 : 5);
    route_.runs.context = device_array(*context_, context);
    route_.runs.row_run = device_array(*context_, row_run);
  }

  ExpertPlanParams poisoned_plan() {
    ExpertPlanParams out{.expert_ids = route_.expert_ids,
                         .num_tokens = c_.tokens,
                         .experts_per_token = c_.experts_per_token,
                         .first_expert = c_.first_held,
                         .num_experts = c_.num_held,
                         .tile_rows = c_.tile_rows,
                         .plan = {}};
    out.plan.offsets = poisoned_array<int32_t>(*context_, c_.num_held + 1);
    out.plan.pairs = poisoned_array<int32_t>(*context_, num_pairs());
    out.plan.row_of = poisoned_array<int32_t>(*context_, num_pairs());
    out.plan.tiles = poisoned_array<int4>(*context_, tiles_max());
    out.plan.num_tiles = poisoned_array<int32_t>(*context_, 1);
    return out;
  }
  void route() { ops_.route(route_); }
  ExpertPlans& plans() { return plans_; }
  void make_apart(const ExpertPlanParams& p) { plan_experts(p, context_->stream()); }

  HostPlan read(const ExpertPlanParams& p) {
    HostPlan out;
    out.offsets = to_host(*context_, p.plan.offsets, c_.num_held + 1);
    out.pairs = to_host(*context_, p.plan.pairs, num_pairs());
    out.row_of = to_host(*context_, p.plan.row_of, num_pairs());
    const int32_t num_tiles = to_host(*context_, p.plan.num_tiles, 1)[0];
    EXPECT_TRUE(num_tiles >= 0 && num_tiles <= tiles_max()) << num_tiles;
    if (num_tiles < 0 || num_tiles > tiles_max()) return out;
    for (const int4& tile : to_host(*context_, p.plan.tiles, num_tiles)) {
      out.tiles.insert(out.tiles.end(), {tile.x, tile.y, tile.z, tile.w});
    }
    return out;
  }

 private:
  const Case c_;
  std::unique_ptr<DeviceContext> context_ = make_context();
  RouteOps ops_{*context_};
  ExpertPlans plans_;
  RouteParams route_;
};

void expect_equal(const HostPlan& out, const HostPlan& want) {
  ASSERT_EQ(out.offsets, want.offsets);
  ASSERT_EQ(out.row_of, want.row_of);
  ASSERT_EQ(out.pairs, want.pairs);
  ASSERT_EQ(out.tiles, want.tiles);
}

void expect_same_plans(const Case& c, bool padding = false) {
  SCOPED_TRACE(::testing::Message() << c);
  Fixture fixture(c);
  if (padding) fixture.add_padding();
  const ExpertPlanParams shared = fixture.poisoned_plan();
  const ExpertPlanParams apart = fixture.poisoned_plan();
  fixture.plans().want(shared);
  fixture.route();
  ASSERT_TRUE(fixture.plans().take(shared));
  fixture.make_apart(apart);
  const HostPlan want = fixture.read(apart);
  if (c.num_held == c.num_experts) {
    ASSERT_GT(want.offsets.back(), 0);
  }
  expect_equal(fixture.read(shared), want);
}

TEST(RouteShared, LeavesThePlanOfItsIds) {
  SKIP_WITHOUT_GPU();
  for (const int32_t tokens : {1, 2, 4, 5, 8, 9, 16, 17, 31, 64, 65, 100, 128, 200, 256}) {
    expect_same_plans({.tokens = tokens});
    expect_same_plans({.tokens = tokens, .tile_rows = 32, .same_token = true});
    expect_same_plans({.tokens = tokens, .first_held = 64, .num_held = 128, .tile_rows = 1});
    expect_same_plans({.tokens = tokens,
                       .num_experts = 12,
                       .first_held = 3,
                       .num_held = 9,
                       .tile_rows = 16,
                       .experts_per_token = 6,
                       .hidden = 64});
  }
}

TEST(RouteShared, PaddingIsInNoPlan) {
  SKIP_WITHOUT_GPU();
  for (const int32_t tokens : {3, 16, 40, 130}) expect_same_plans({.tokens = tokens}, true);
}

TEST(RouteShared, WorksBesideEveryWayToSelect) {
  SKIP_WITHOUT_GPU();
  for (const int32_t tokens : {2, 12, 50, 256}) {
    expect_same_plans({.tokens = tokens, .num_experts = 64, .num_held = 64, .num_groups = 8});
    expect_same_plans({.tokens = tokens, .num_experts = 512, .first_held = 100, .num_held = 200});
  }
}

TEST(RouteShared, GivesOnlyWhatWasAsked) {
  SKIP_WITHOUT_GPU();
  Fixture fixture({.tokens = 16});
  const ExpertPlanParams wanted = fixture.poisoned_plan();
  fixture.route();
  EXPECT_FALSE(fixture.plans().take(wanted)) << "nobody had asked";
  fixture.plans().want(wanted);
  fixture.route();
  ExpertPlanParams other = wanted;
  other.tile_rows = 16;
  EXPECT_FALSE(fixture.plans().take(other));
  EXPECT_FALSE(fixture.plans().take(wanted)) << "asked for once already";
  fixture.route();
  EXPECT_TRUE(fixture.plans().take(wanted));
  EXPECT_FALSE(fixture.plans().take(wanted)) << "taken";
  fixture.route();
  other = wanted;
  other.num_tokens = 15;
  fixture.plans().want(other);
  fixture.route();
  EXPECT_FALSE(fixture.plans().take(other)) << "of another step's size";
}

TEST(RouteShared, RepeatsBitForBit) {
  SKIP_WITHOUT_GPU();
  for (const int32_t tokens : {1, 16, 64, 256}) {
    Fixture fixture({.tokens = tokens, .hidden = 4096});
    const ExpertPlanParams wanted = fixture.poisoned_plan();
    fixture.plans().want(wanted);
    fixture.route();
    const HostPlan first = fixture.read(wanted);
    for (int32_t i = 0; i < 1000; ++i) {
      fixture.route();
      SCOPED_TRACE(::testing::Message() << "T " << tokens << ", run " << i);
      expect_equal(fixture.read(wanted), first);
    }
  }
}

}  // namespace
}  // namespace mimo::kernels::cuda::test
