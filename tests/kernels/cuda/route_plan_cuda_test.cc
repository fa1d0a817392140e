#include <algorithm>
#include <cstring>
#include <numeric>
#include <ostream>

#include "kernels/cuda/route/expert_plan.h"
#include "tests/kernels/cuda/cuda_support.h"

namespace mimo::kernels::cuda::test {
namespace {

enum class Choice { kUniform, kSkewed, kSame, kNone, kHalfElsewhere };

struct Case {
  Choice choice = Choice::kUniform;
  int32_t tokens = 0;
  int32_t experts_per_token = 8;
  int32_t num_experts = 256;
  int32_t tile_rows = 64;
};
std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << "choice " << static_cast<int>(c.choice) << ", T " << c.tokens << ", K "
             << c.experts_per_token << ", E " << c.num_experts << ", tile " << c.tile_rows;
}

constexpr int32_t kFirstExpert = 3;  // ids below are another rank's

// [T, K]; a token's experts differ, except where all are the same.
std::vector<int32_t> expert_ids(const Case& c, uint32_t seed) {
  std::mt19937 generator(seed);
  std::vector<int32_t> all(static_cast<size_t>(c.num_experts));
  std::iota(all.begin(), all.end(), kFirstExpert);
  std::vector<int32_t> out;
  for (int32_t t = 0; t < c.tokens; ++t) {
    for (int32_t k = 0; k < c.experts_per_token; ++k) {
      const auto last = static_cast<int32_t>(all.size()) - 1;
      const int32_t low = std::min(k, last);
      std::swap(all[static_cast<size_t>(low)],
                all[std::uniform_int_distribution<size_t>(low, last)(generator)]);
      int32_t id = all[static_cast<size_t>(low)];
      const uint32_t chance = generator() % 4;
      if (c.choice == Choice::kSkewed && chance != 0) id = kFirstExpert + c.num_experts / 2;
      if (c.choice == Choice::kSame) id = kFirstExpert + c.num_experts - 1;
      if (c.choice == Choice::kNone) id = -1;
      if (c.choice == Choice::kHalfElsewhere && chance < 2) {
        const int32_t elsewhere[] = {-1, 0, kFirstExpert - 1, kFirstExpert + c.num_experts};
        id = elsewhere[generator() % 4];
      }
      out.push_back(id);
    }
  }
  return out;
}

struct HostPlan {
  std::vector<int32_t> offsets;
  std::vector<int32_t> pairs;
  std::vector<int32_t> row_of;
  std::vector<int32_t> tiles;  // four a tile
  bool operator==(const HostPlan&) const = default;
};

HostPlan wanted(const Case& c, const std::vector<int32_t>& ids) {
  HostPlan out;
  out.row_of.assign(ids.size(), -1);
  for (int32_t expert = 0; expert < c.num_experts; ++expert) {
    const auto begin = static_cast<int32_t>(out.pairs.size());
    out.offsets.push_back(begin);
    for (size_t i = 0; i < ids.size(); ++i) {
      if (ids[i] != kFirstExpert + expert) continue;
      out.row_of[i] = static_cast<int32_t>(out.pairs.size());
      out.pairs.push_back(static_cast<int32_t>(i));
    }
    const auto end = static_cast<int32_t>(out.pairs.size());
    for (int32_t row = begin; row < end; row += c.tile_rows) {
      out.tiles.insert(out.tiles.end(), {expert, row, std::min(c.tile_rows, end - row), 0});
    }
  }
  out.offsets.push_back(static_cast<int32_t>(out.pairs.size()));
  out.pairs.resize(ids.size(), -1);  // entries past the served ones stay as they were: poison
  return out;
}

class DevicePlan {
 public:
  DevicePlan(const Case& c, const std::vector<int32_t>& ids)
      : num_pairs_(static_cast<int64_t>(ids.size())),
        tiles_max_(expert_tiles_max(num_pairs_, c.num_experts, c.tile_rows)) {
    p_.expert_ids = device_array(*context_, ids);
    p_.num_tokens = c.tokens;
    p_.experts_per_token = c.experts_per_token;
    p_.first_expert = kFirstExpert;
    p_.num_experts = c.num_experts;
    p_.tile_rows = c.tile_rows;
  }

  HostPlan run() {
    DeviceContext& context = *context_;
    const int32_t num_offsets = p_.num_experts + 1;
    p_.plan.offsets = poisoned_array<int32_t>(context, num_offsets);
    p_.plan.pairs = poisoned_array<int32_t>(context, num_pairs_);
    p_.plan.row_of = poisoned_array<int32_t>(context, num_pairs_);
    p_.plan.tiles = poisoned_array<int4>(context, tiles_max_);
    p_.plan.num_tiles = poisoned_array<int32_t>(context, 1);
    plan_experts(p_, context.stream());
    HostPlan out;
    out.offsets = to_host(context, p_.plan.offsets, num_offsets);
    out.pairs = to_host(context, p_.plan.pairs, num_pairs_);
    out.row_of = to_host(context, p_.plan.row_of, num_pairs_);
    const int32_t num_tiles = to_host(context, p_.plan.num_tiles, 1)[0];
    EXPECT_TRUE(num_tiles >= 0 && num_tiles <= tiles_max_) << num_tiles << " of " << tiles_max_;
    if (num_tiles < 0 || num_tiles > tiles_max_) return out;
    for (const int4& tile : to_host(context, p_.plan.tiles, num_tiles)) {
      out.tiles.insert(out.tiles.end(), {tile.x, tile.y, tile.z, tile.w});
    }
    return out;
  }

 private:
  std::unique_ptr<DeviceContext> context_ = make_context();
  ExpertPlanParams p_;
  int64_t num_pairs_;
  int32_t tiles_max_;
};

void expect_same(const std::vector<int32_t>& out, const std::vector<int32_t>& want,
                 const char* what) {
  ASSERT_EQ(out.size(), want.size()) << what;
  const auto [at, expected] = std::mismatch(out.begin(), out.end(), want.begin());
  ASSERT_TRUE(at == out.end()) << what << "[" << at - out.begin() << "] is " << *at << ", not "
                               << *expected;
}

void expect_plan(const Case& c) {
  SCOPED_TRACE(::testing::Message() << c);
  const auto ids = expert_ids(c, 11);
  const HostPlan want = wanted(c, ids);
  const HostPlan out = DevicePlan(c, ids).run();
  expect_same(out.offsets, want.offsets, "offsets");
  expect_same(out.row_of, want.row_of, "row_of");
  expect_same(out.pairs, want.pairs, "pairs");
  expect_same(out.tiles, want.tiles, "tiles");
}

class ExpertPlanOf : public ::testing::TestWithParam<Choice> {};

TEST_P(ExpertPlanOf, IsTheStableSort) {
  SKIP_WITHOUT_GPU();
  for (const int32_t tokens : {0, 1, 2, 8, 64, 256, 512, 513, 1000, 8192}) {
    expect_plan({.choice = GetParam(), .tokens = tokens, .tile_rows = tokens < 100 ? 16 : 128});
  }
}

INSTANTIATE_TEST_SUITE_P(Choices, ExpertPlanOf,
                         ::testing::Values(Choice::kUniform, Choice::kSkewed, Choice::kSame,
                                           Choice::kNone, Choice::kHalfElsewhere));

TEST(ExpertPlan, TakesAnyShape) {
  SKIP_WITHOUT_GPU();
  for (const Case& c :
       {Case{.tokens = 5, .experts_per_token = 1, .num_experts = 1},
        Case{.tokens = 77, .experts_per_token = 3, .num_experts = 5},
        Case{.tokens = 300, .experts_per_token = 32, .num_experts = 1024},
        Case{.tokens = 3000, .experts_per_token = 2, .num_experts = 31},
        Case{.tokens = 40, .experts_per_token = 8, .num_experts = 64, .tile_rows = 1},
        Case{.tokens = 20000, .experts_per_token = 8, .num_experts = 128}}) {
    expect_plan(c);
  }
}

TEST(ExpertPlan, RepeatsBitForBit) {
  SKIP_WITHOUT_GPU();
  for (const int32_t tokens : {64, 2000}) {
    const Case c{.choice = Choice::kSkewed, .tokens = tokens};
    DevicePlan plan(c, expert_ids(c, 12));
    const HostPlan first = plan.run();
    for (int32_t i = 0; i < 1000; ++i) ASSERT_TRUE(plan.run() == first) << c << ", run " << i;
  }
}

}  // namespace
}  // namespace mimo::kernels::cuda::test
