#include "tests/kernels/cuda/product_support.h"

// The batch-invariant mode's products of more tokens than a tile holds: right, and bit for bit
// those of few tokens.
namespace mimo::kernels::cuda::test {
namespace {

struct Shape {
  int64_t rows;
  int64_t cols;
};

// Resident weights of one, two and four slices, swapped ones of one and two, and rows that end
// inside a unit.
constexpr Shape kShapes[] = {{256, 1024}, {144, 512}, {4096, 2048}, {80, 192}, {208, 4096}};

class ProductChain : public ::testing::TestWithParam<Shape> {};
INSTANTIATE_TEST_SUITE_P(Shapes, ProductChain, ::testing::ValuesIn(kShapes));

TEST_P(ProductChain, ManyTokensGiveTheBitsOfFewAndAreRight) {
  SKIP_WITHOUT_GPU();
  const auto context = DeviceContext::create({.batch_invariant = true}).value();
  const auto ops = product_ops(*context);
  const Shape shape = GetParam();
  const auto cols = static_cast<int32_t>(shape.cols);
  const Weight weight = quick_weight(DType::kBf16, shape.rows, shape.cols, 5);
  const Linear w = context->add_matrix(device_weight(*context, weight));
  const std::vector<float> x = random_floats(kManyTokens * shape.cols, 7, kDevice);
  const uint16_t* const device_x = device_bf16(*context, x);

  for (const bool out_f32 : {false, true}) {
    const int64_t size = out_f32 ? 4 : 2;
    const auto run = [&](int32_t first, int32_t count) {
      auto* const out = poisoned_array<uint8_t>(*context, kManyTokens * shape.rows * size);
      ops->linear({.x = device_x + int64_t{first} * cols,
                   .w = w,
                   .out = out,
                   .out_f32 = out_f32,
                   .num_tokens = count});
      return to_host(*context, out, kManyTokens * shape.rows * size);
    };
    const std::vector<uint8_t> few = run(0, 7);
    for (const int32_t count : {33, 64, 65, 66, 100, 128, kManyTokens}) {
      SCOPED_TRACE(::testing::Message() << shape.rows << " x " << shape.cols << " by " << count
                                        << (out_f32 ? ", f32" : ", bf16"));
      const std::vector<uint8_t> many = run(0, count);
      const int64_t row_bytes = shape.rows * size;
      EXPECT_EQ(std::memcmp(many.data(), few.data(), static_cast<size_t>(7 * row_bytes)), 0);
      const std::vector<uint8_t> last = run(count - 1, 1);
      EXPECT_EQ(std::memcmp(many.data() + (count - 1) * row_bytes, last.data(),
                            static_cast<size_t>(row_bytes)),
                0);
      for (int64_t i = count * row_bytes; i < static_cast<int64_t>(many.size()); ++i) {
        ASSERT_EQ(many[static_cast<size_t>(i)], 0xff) << "byte " << i << " behind the results";
      }
    }
  }

  const auto out = poisoned_array<float>(*context, kManyTokens * shape.rows);
  ops->linear({.x = device_x, .w = w, .out = out, .out_f32 = true, .num_tokens = kManyTokens});
  const int64_t num_rows = 3;
  const Matrix rows =
      reference::matrix(std::vector<float>(x.begin(), x.begin() + num_rows * cols), num_rows, cols);
  const Matrix want = reference::product(rows, weight.view(), kDevice);
  const std::vector<float> found = to_host(*context, out, num_rows * shape.rows);
  EXPECT_BLOCKS_NEAR(found, want, num_rows, 1e-5);
}

}  // namespace
}  // namespace mimo::kernels::cuda::test
