#include <gtest/gtest.h>

#include <cmath>
#include <iostream>
#include <ostream>

#include "kernels/cuda/cuda_ops.h"
#include "lockstep_case.h"

// Every operation of the CUDA backend against the CPU's with the GPU's roundings, inside the whole
// model on real data, each from the same inputs.
namespace mimo::node::model_test {
namespace {

#define SKIP_WITHOUT_GPU() \
  if (kernels::cuda::num_devices() == 0) GTEST_SKIP() << "no GPU here"

struct Layout {
  const char* checkpoint;
  int32_t page_tokens;
  int32_t chunk;
  int32_t num_outputs;
};
std::ostream& operator<<(std::ostream& out, const Layout& layout) {
  return out << layout.checkpoint << " page " << layout.page_tokens << " chunk " << layout.chunk;
}
std::vector<Layout> layouts() {
  std::vector<Layout> all;
  for (const char* checkpoint : kCheckpoints) {
    all.push_back({checkpoint, 16, 7, 4});
    all.push_back({checkpoint, 64, 64, 4});
    all.push_back({checkpoint, 16, 400, 24});
  }
  return all;
}

// What an operation's error may be. Both backends round at the same places, so outputs differ where
// a float sum's last bits (or an e4m3 tile's sums of 128 columns, good to about 2e-4) decide a
// rounding: a step of bf16 is up to 2^-7 of a value, of e4m3 2^-3. A share p of an output's values
// that are one step s apart is an error of s sqrt(p).
struct Bound {
  const char* op;
  double all;    // of all rows together
  double worst;  // of the worst row: no row is further than if all its values were a step apart
};
constexpr double kStep = 0x1p-7;
constexpr Bound kBounds[] = {
    // Float sums in another order, then one rounding.
    {"add_norm", 2e-4, kStep},
    {"linear BF16", 5e-4, kStep},
    {"qkv BF16 q", 5e-4, kStep},
    {"qkv BF16 k", 5e-4, kStep},
    {"qkv BF16 v", 5e-4, kStep},
    {"qkv F8_E4M3 q", 1.5e-3, kStep},
    {"qkv F8_E4M3 k", 1.5e-3, kStep},
    {"qkv F8_E4M3 v", 1.5e-3, kStep},
    // Two roundings, the first one's differences carried through a product.
    {"dense_ffn BF16", 5e-4, kStep},
    {"experts BF16", 5e-4, kStep},
    // The GPU rounds a softmax's weights to bf16 before they meet V, as its tensor cores read them;
    // the CPU does not: 1.6e-3 of each weight, and the output's own rounding decided by it.
    {"attention", 2e-3, kStep},
    // The product between is rounded to e4m3: where the sum before it differs, a step of 2^-3, or
    // with another maximum the whole group's scale.
    {"dense_ffn F8_E4M3", 6e-3, 5e-2},
    {"experts F8_E4M3", 6e-3, 5e-2},
    // Floats.
    {"logits BF16", 1e-5, 1e-4},
    {"route", 1e-6, 1e-5},
    {"sample", 1e-5, 1e-5},
    {"score", 1e-5, 1e-5},
    {"sample full", 1e-5, 1e-4},
    {"score full", 1e-5, 1e-4},
    // The same bits.
    {"embed", 0, 0},
    {"add_norm residual", 0, 0},
    {"gather_rows", 0, 0},
    {"scatter", 0, 0},
};

class LockstepCuda : public ::testing::TestWithParam<Layout> {};
INSTANTIATE_TEST_SUITE_P(Layouts, LockstepCuda, ::testing::ValuesIn(layouts()));

TEST_P(LockstepCuda, EveryOperationIsTheCpusOnTheSameInputs) {
  SKIP_WITHOUT_GPU();
  const Layout layout = GetParam();
  const auto gpu = []() -> Result<std::unique_ptr<kernels::Ops>> {
    TRY_ASSIGN(auto ops, kernels::cuda::make_cuda_ops({}));
    return std::unique_ptr<kernels::Ops>(std::move(ops));
  };

  const Lockstep report =
      run_lockstep(layout.checkpoint, layout.page_tokens, layout.chunk, layout.num_outputs, gpu);

  EXPECT_GE(report.size(), 15u);
  for (const auto& [op, errors] : report) {
    const auto* const bound = std::find_if(std::begin(kBounds), std::end(kBounds),
                                           [&op = op](const Bound& b) { return b.op == op; });
    ASSERT_NE(bound, std::end(kBounds)) << op;
    EXPECT_EQ(errors.num_unequal(), 0) << op << ": " << errors.first_unequal();
    if (errors.num_rows() == 0) continue;
    std::cout << layout << ", " << op << ": " << errors << "\n";
    EXPECT_LE(errors.pooled(), bound->all) << op;
    EXPECT_LE(errors.quantile(1), bound->worst) << op;
  }
}

}  // namespace
}  // namespace mimo::node::model_test
