#include <ostream>

#include "kernels/cuda/product/swap.h"
#include "kernels/cuda/route/expert_plan.h"
#include "tests/kernels/cuda/product_support.h"

namespace mimo::kernels::cuda::test {
namespace {

using product::StreamOut;
using product::SwapShape;

constexpr double kFloats = 1e-4;
// wgmma keeps about 13 bits of its running sum of e4m3 products; it is added in float every 128
// columns.
constexpr double kE4m3Sums = 1e-3;

// How many rows each expert has; whole tiles, parts of one, several of them.
constexpr int32_t kRowsOf[] = {0, 1, 16, 17, 0, 200, 8, 64, 9};
constexpr int32_t kExperts = static_cast<int32_t>(std::size(kRowsOf));

struct Case {
  DType dtype;
  int32_t rows;
  int32_t cols;
  int32_t rows_per_scale = 128;
};
std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << dtype_name(c.dtype) << " " << c.rows << " x " << c.cols;
}

// Tokens' experts, those of one expert far apart.
std::vector<int32_t> shuffled_ids() {
  std::vector<int32_t> out;
  for (int32_t e = 0; e < kExperts; ++e) out.insert(out.end(), kRowsOf[e], e);
  std::shuffle(out.begin(), out.end(), std::mt19937(5));
  return out;
}

ExpertPlan make_plan(DeviceContext& context, const std::vector<int32_t>& ids, int32_t tile_rows) {
  const auto count = static_cast<int32_t>(ids.size());
  ExpertPlan plan;
  plan.offsets = poisoned_array<int32_t>(context, kExperts + 1);
  plan.pairs = poisoned_array<int32_t>(context, count);
  plan.row_of = poisoned_array<int32_t>(context, count);
  plan.tiles = poisoned_array<int4>(context, expert_tiles_max(count, kExperts, tile_rows));
  plan.num_tiles = poisoned_array<int32_t>(context, 1);
  plan_experts({.expert_ids = device_array(context, ids),
                .num_tokens = count,
                .experts_per_token = 1,
                .first_expert = 0,
                .num_experts = kExperts,
                .tile_rows = tile_rows,
                .plan = plan},
               context.stream());
  return plan;
}

bool on_sm90() { return make_context()->capability() == 90; }

class Swap : public ::testing::TestWithParam<Case> {};

TEST_P(Swap, GroupedMatchesTheReferenceInEveryShape) {
  SKIP_WITHOUT_GPU();
  if (!on_sm90()) GTEST_SKIP() << "no SM90";
  const Case c = GetParam();
  auto context = make_context();
  auto swap = product::SwapStream::create(*context).value();
  std::vector<Weight> weights;
  for (int32_t e = 0; e < kExperts; ++e) {
    weights.push_back(
        random_weight(c.dtype, c.rows, c.cols, static_cast<uint32_t>(11 + e), c.rows_per_scale));
  }
  const DeviceMatrix w = device_weights(*context, weights);
  const std::vector<int32_t> ids = shuffled_ids();
  const auto count = static_cast<int32_t>(ids.size());
  const auto x = random_floats(int64_t{count} * c.cols, 7, kDevice);
  const Rows rows = device_rows(*context, x, c.cols, c.dtype == DType::kF8E4m3);
  const Matrix in = reference::matrix(x, count, c.cols);
  std::vector<Matrix> want;  // of each expert, all tokens
  for (const Weight& weight : weights) {
    want.push_back(reference::product(in, weight.view(), kDevice));
  }

  for (const int32_t tile_rows : {8, 16, 32, 64}) {
    const ExpertPlan plan = make_plan(*context, ids, tile_rows);
    const auto pairs = to_host(*context, plan.pairs, count);
    Matrix sorted(count, c.rows);
    for (int32_t r = 0; r < count; ++r) {
      const auto t = static_cast<size_t>(pairs[static_cast<size_t>(r)]);
      for (int64_t i = 0; i < c.rows; ++i) {
        sorted.at(r, i) = want[static_cast<size_t>(ids[t])].at(static_cast<int64_t>(t), i);
      }
    }
    for (const int32_t k_split : {1, 2, 4}) {
      for (const bool with_q : {false, true}) {
        if (with_q && c.dtype != DType::kF8E4m3) continue;
        SCOPED_TRACE(::testing::Message()
                     << "tiles of " << tile_rows << ", split " << k_split << ", q " << with_q);
        const auto shape =
            product::swap_shape(c.dtype, c.cols, tile_rows, k_split, context->shared_bytes_max());
        if (!shape.has_value()) continue;
        float* const out = poisoned_array<float>(*context, int64_t{count} * c.rows);
        const void* const values = with_q ? static_cast<const void*>(rows.q) : rows.values;
        swap.run({.x = values,
                  .x_scales = with_q ? rows.q_scales : nullptr,
                  .w = w,
                  .out_kind = StreamOut::kF32,
                  .out = out,
                  .num_tokens = count,
                  .plan = &plan,
                  .pairs_div = 1},
                 *shape);
        const auto got = to_host(*context, out, int64_t{count} * c.rows);
        EXPECT_BLOCKS_NEAR(got, sorted, count, c.dtype == DType::kF8E4m3 ? kE4m3Sums : kFloats);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, Swap,
                         ::testing::Values(Case{DType::kF8E4m3, 272, 640, 64},
                                           Case{DType::kF8E4m3, 128, 4096},
                                           Case{DType::kF8E4m3, 48, 528, 8},
                                           Case{DType::kBf16, 272, 328},
                                           Case{DType::kBf16, 144, 1024}));

TEST(Swap, SplitsGiveTheSameBitsEveryTime) {
  SKIP_WITHOUT_GPU();
  if (!on_sm90()) GTEST_SKIP() << "no SM90";
  auto context = make_context();
  auto swap = product::SwapStream::create(*context).value();
  for (const DType dtype : {DType::kBf16, DType::kF8E4m3}) {
    const Weight weight = quick_weight(dtype, 3712, 2048, 31);
    const DeviceMatrix w = device_weight(*context, weight);
    const auto x = random_floats(int64_t{64} * 2048, 32, kDevice);
    const uint16_t* const d_x = device_bf16(*context, x);
    float* const out = poisoned_array<float>(*context, int64_t{64} * 3712);
    for (const int32_t num_tokens : {1, 13, 64}) {
      for (const int32_t k_split : {1, 2, 4}) {
        SCOPED_TRACE(::testing::Message() << num_tokens << " tokens, split " << k_split);
        const auto shape = product::swap_shape(dtype, 2048, product::swap_token_rows(num_tokens),
                                               k_split, context->shared_bytes_max());
        if (!shape.has_value()) continue;
        const auto run = [&] {
          swap.run(
              {.x = d_x, .w = w, .out_kind = StreamOut::kF32, .out = out, .num_tokens = num_tokens},
              *shape);
          return to_host(*context, out, int64_t{num_tokens} * 3712);
        };
        const auto first = run();
        for (int i = 0; i < 1000; ++i) ASSERT_TRUE(equal_bits(first, run())) << "launch " << i;
      }
    }
  }
}

}  // namespace
}  // namespace mimo::kernels::cuda::test
