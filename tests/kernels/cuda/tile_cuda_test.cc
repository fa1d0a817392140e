#include <sstream>
#include <utility>

#include "kernels/cuda/tile/tile_choice.h"
#include "tests/kernels/cuda/tile_case.h"

namespace mimo::kernels::cuda::test {
namespace {

constexpr uint32_t kSeed = 20261;

// bf16 rounds each result by up to 2^-9. wgmma's sums of 128 e4m3 products keep some 13 bits of the
// largest; those of mma.sync and of cuBLASLt are floats. Whole numbers are exact everywhere.
double tile_tolerance(const TileProduct& product, TileKernel kernel, TileOut out) {
  const bool coarse = kernel == TileKernel::kWgmma || kernel == TileKernel::kAuto;
  if (out != TileOut::kF32) return coarse ? 5e-3 : 3e-3;
  if (product.whole_numbers) return 0;
  return coarse ? 4e-3 : 5e-5;
}

struct Fixture {
  Fixture() : context(make_context()), gemm(*context) { gemm.prepare({}).value(); }

  // The kernels that take such a product here.
  std::vector<TileKernel> kernels(const TileProduct& p, TileOut out) const {
    std::vector<TileKernel> fit;
    for (const auto kernel : {TileKernel::kMmaSync, TileKernel::kWgmma, TileKernel::kCublasLt}) {
      const TileShape shape{.capability = context->capability(),
                            .dtype = p.dtype,
                            .rows = p.rows,
                            .cols = p.cols,
                            .rows_per_scale = p.rows_per_scale,
                            .out = out,
                            .grouped = !p.counts.empty(),
                            .gathered = p.gather_div > 0};
      if (tile_refusal(kernel, shape) == nullptr) fit.push_back(kernel);
    }
    return fit;
  }

  std::unique_ptr<DeviceContext> context;
  TileGemm gemm;
};

// Rows or columns to look at: all of few; of many the edges of tiles and some between.
std::vector<int32_t> samples(int32_t size, int32_t most) {
  std::vector<int32_t> out;
  if (size <= most) {
    for (int32_t i = 0; i < size; ++i) out.push_back(i);
    return out;
  }
  for (const int32_t at : {0, 1, 7, 8, 31, 63, 64, 127, 128, 191, 192, 255, 256, size - 65,
                           size - 64, size - 2, size - 1}) {
    if (at >= 0 && at < size) out.push_back(at);
  }
  for (int32_t i = 0; i < most; ++i) {
    out.push_back(static_cast<int32_t>(int64_t{i} * 7919 * 31 % size));
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

// The sampled values against plain sums, by blocks of 64 columns; no NaN among the rows, nothing
// but NaN behind them.
void expect_right(const TileCase& tile, TileKernel kernel, TileOut out, int32_t num_rows,
                  const std::vector<float>& values) {
  const int32_t cols = tile.out_cols(out);
  const auto told = [&] {
    std::ostringstream text;
    text << name_of(kernel) << " " << name_of(out) << " rows " << num_rows << " of "
         << tile.product();
    return text.str();
  };
  for (int64_t i = 0; i < int64_t{num_rows} * cols; ++i) {
    ASSERT_FALSE(std::isnan(values[static_cast<size_t>(i)]))
        << told() << ": NaN in row " << i / cols << " column " << i % cols;
  }
  for (size_t i = static_cast<size_t>(num_rows) * static_cast<size_t>(cols); i < values.size();
       ++i) {
    ASSERT_TRUE(std::isnan(values[i]))
        << told() << ": written behind the last row, at " << i % static_cast<size_t>(cols);
  }
  const bool small = int64_t{num_rows} * cols * tile.product().cols < 3'000'000;
  const auto rows = samples(num_rows, small ? num_rows : 20);
  std::vector<double> errors(static_cast<size_t>(cols / 64 + 1), 0);
  std::vector<double> sizes = errors;
  std::vector<std::string> worst(errors.size());
  std::vector<double> most(errors.size(), 0);
  for (const int32_t c : samples(cols, small ? cols : 48)) {
    const auto block = static_cast<size_t>(c / 64);
    for (const int32_t r : rows) {
      const double want = tile.want(out, r, c);
      const double got = values[static_cast<size_t>(int64_t{r} * cols + c)];
      const double error = std::fabs(got - want);
      errors[block] += error * error;
      sizes[block] += want * want;
      if (error <= most[block]) continue;
      most[block] = error;
      worst[block] = "row " + std::to_string(r) + " column " + std::to_string(c) + ": " +
                     std::to_string(got) + ", expected " + std::to_string(want);
    }
  }
  for (size_t b = 0; b < errors.size(); ++b) {
    ASSERT_LE(std::sqrt(errors[b]),
              tile_tolerance(tile.product(), kernel, out) * std::sqrt(sizes[b]))
        << told() << ": columns from " << b * 64 << " on; worst " << worst[b];
  }
}

void expect_all_right(Fixture& f, const TileProduct& product,
                      const std::vector<int32_t>& num_rows) {
  const TileCase tile(*f.context, product);
  for (const TileOut out : {TileOut::kBf16, TileOut::kF32, TileOut::kSiluMul}) {
    if (out == TileOut::kSiluMul && product.rows % 2 != 0) continue;
    for (const TileKernel kernel : f.kernels(product, out)) {
      for (const int32_t m : num_rows) {
        expect_right(tile, kernel, out, m, tile.run(f.gemm, kernel, out, m));
        if (::testing::Test::HasFatalFailure()) return;
      }
    }
  }
}

TEST(TileGemm, SmallProductsOfAllShapesAreRight) {
  SKIP_WITHOUT_GPU();
  Fixture f;
  for (const DType dtype : {DType::kF8E4m3, DType::kBf16}) {
    for (const int32_t rows : {64, 128, 192, 211, 320}) {
      for (const int32_t cols : {24, 48, 96, 128, 256, 512}) {
        const TileProduct product{
            .dtype = dtype, .rows = rows, .cols = cols, .num_rows = 256, .seed = kSeed};
        expect_all_right(f, product, {1, 65, 127, 128, 129, 256});
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST(TileGemm, ScalesOfFewerRowsAreRight) {
  SKIP_WITHOUT_GPU();
  Fixture f;
  for (const int32_t rows_per_scale : {1, 16, 40, 64}) {
    for (const int32_t rows : {64, 192, 211, 384}) {
      const TileProduct product{.rows = rows,
                                .cols = 256,
                                .num_rows = 129,
                                .rows_per_scale = rows_per_scale,
                                .seed = kSeed + 1};
      expect_all_right(f, product, {65, 129});
      if (HasFatalFailure()) return;
    }
  }
}

TEST(TileGemm, ScalesFarApartAreRight) {
  SKIP_WITHOUT_GPU();
  Fixture f;
  for (const int32_t rows_per_scale : {64, 128}) {
    const TileProduct product{.rows = 384,
                              .cols = 1024,
                              .num_rows = 200,
                              .rows_per_scale = rows_per_scale,
                              .scale_octaves = 12,
                              .seed = kSeed + 2};
    const TileCase tile(*f.context, product);
    for (const TileOut out : {TileOut::kBf16, TileOut::kF32}) {
      for (const TileKernel kernel : f.kernels(product, out)) {
        expect_right(tile, kernel, out, 200, tile.run(f.gemm, kernel, out, 200));
      }
    }
  }
}

TEST(TileGemm, OneBlockAloneGoesWhereItBelongs) {
  SKIP_WITHOUT_GPU();
  Fixture f;
  for (int32_t row_block = 0; row_block < 6; ++row_block) {
    for (int32_t col_block = 0; col_block < 4; ++col_block) {
      const TileProduct product{.rows = 384,
                                .cols = 512,
                                .num_rows = 130,
                                .rows_per_scale = row_block % 2 == 0 ? 128 : 64,
                                .scale_octaves = 6,
                                .only_row_block = row_block,
                                .only_col_block = col_block,
                                .seed = kSeed + 3};
      const TileCase tile(*f.context, product);
      for (const TileKernel kernel : f.kernels(product, TileOut::kF32)) {
        const auto out = tile.run(f.gemm, kernel, TileOut::kF32, 130);
        // Zero where the block is not: expect_right() allows no error against a size of zero.
        expect_right(tile, kernel, TileOut::kF32, 130, out);
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST(TileGemm, WholeNumbersAreExactByEveryKernel) {
  SKIP_WITHOUT_GPU();
  Fixture f;
  const std::vector<int32_t> counts = {129, 0, 300, 128, 15, 257, 1, 90};
  const TileProduct few{
      .rows = 384, .cols = 256, .num_rows = 130, .whole_numbers = true, .seed = kSeed + 13};
  TileProduct many = few;
  many.rows = 3712 - 64;
  many.cols = 1024;
  many.num_rows = 930;
  TileProduct grouped = few;
  grouped.rows = 2048;
  grouped.counts = counts;
  grouped.num_rows = std::accumulate(counts.begin(), counts.end(), 0);
  TileProduct gathered = grouped;
  gathered.gather_div = 8;
  for (const TileProduct& product : {few, many, grouped, gathered}) {
    const TileCase tile(*f.context, product);
    const int32_t num_rows = product.num_rows;
    const auto oracle = tile.run(f.gemm, TileKernel::kMmaSync, TileOut::kF32, num_rows);
    expect_right(tile, TileKernel::kMmaSync, TileOut::kF32, num_rows, oracle);
    for (const TileKernel kernel : f.kernels(product, TileOut::kF32)) {
      const auto values = tile.run(f.gemm, kernel, TileOut::kF32, num_rows);
      for (int64_t i = 0; i < int64_t{num_rows} * product.rows; ++i) {
        const auto at = static_cast<size_t>(i);
        ASSERT_EQ(values[at], oracle[at]) << name_of(kernel) << " row " << i / product.rows
                                          << " column " << i % product.rows << " of " << product;
      }
    }
  }
}

// |x - y| / |y| over all values, as long vectors.
double distance(const std::vector<float>& x, const std::vector<float>& y, int64_t size) {
  double difference = 0;
  double length = 0;
  for (size_t i = 0; i < static_cast<size_t>(size); ++i) {
    difference += (double{x[i]} - y[i]) * (double{x[i]} - y[i]);
    length += double{y[i]} * y[i];
  }
  return std::sqrt(difference / length);
}

// At the model's own shapes: sampled against plain sums, and one kernel against the other whole.
void expect_kernels_agree(Fixture& f, const TileProduct& product, TileOut out,
                          const std::vector<int32_t>& num_rows) {
  const TileCase tile(*f.context, product);
  for (const int32_t m : num_rows) {
    const auto oracle = tile.run(f.gemm, TileKernel::kMmaSync, out, m);
    expect_right(tile, TileKernel::kMmaSync, out, m, oracle);
    for (const TileKernel kernel : f.kernels(product, out)) {
      if (kernel == TileKernel::kMmaSync) continue;
      const auto values = tile.run(f.gemm, kernel, out, m);
      expect_right(tile, kernel, out, m, values);
      if (::testing::Test::HasFatalFailure()) return;
      EXPECT_LE(distance(values, oracle, int64_t{m} * tile.out_cols(out)), 5e-3)
          << name_of(kernel) << " and mma.sync, " << name_of(out) << " rows " << m << " of "
          << product;
    }
  }
}

TEST(TileGemm, TheModelsDenseShapesAreRightByEveryKernel) {
  SKIP_WITHOUT_GPU();
  Fixture f;
  const std::vector<int32_t> num_rows = {65, 129, 1000, 4096};
  const auto fp8 = [](int32_t rows, int32_t cols, int32_t rows_per_scale) {
    return TileProduct{.rows = rows,
                       .cols = cols,
                       .num_rows = 4096,
                       .rows_per_scale = rows_per_scale,
                       .seed = kSeed + 4};
  };
  expect_kernels_agree(f, fp8(3712, 4096, 128), TileOut::kBf16, num_rows);
  expect_kernels_agree(f, fp8(3392, 4096, 64), TileOut::kF32, {1000, 4096});
  expect_kernels_agree(f, fp8(1024, 4096, 128), TileOut::kSiluMul, num_rows);
  expect_kernels_agree(f, fp8(4096, 512, 128), TileOut::kBf16, num_rows);
  const TileProduct bf16{
      .dtype = DType::kBf16, .rows = 4096, .cols = 2048, .num_rows = 1000, .seed = kSeed + 5};
  expect_kernels_agree(f, bf16, TileOut::kBf16, {65, 1000});
  expect_kernels_agree(f, bf16, TileOut::kF32, {1000});
}

std::vector<std::vector<int32_t>> distributions() {
  return {{256, 256, 256, 256, 256, 256, 256, 256},
          {0, 1, 129, 0, 257, 128, 127, 3},
          {0, 0, 0, 1000, 0, 0, 0, 0},
          {129, 0, 0, 0, 0, 0, 0, 130},
          {5, 70, 2, 11, 0, 33, 64, 90}};
}

void expect_grouped_right(Fixture& f, TileProduct product, const std::vector<TileOut>& outs) {
  for (const auto& counts : distributions()) {
    product.counts = counts;
    product.num_rows = std::accumulate(counts.begin(), counts.end(), 0);
    const TileCase tile(*f.context, product);
    for (const TileOut out : outs) {
      for (const TileKernel kernel : f.kernels(product, out)) {
        expect_right(tile, kernel, out, product.num_rows,
                     tile.run(f.gemm, kernel, out, product.num_rows));
        if (::testing::Test::HasFatalFailure()) return;
      }
    }
  }
}

TEST(TileGemm, SmallGroupedProductsAreRight) {
  SKIP_WITHOUT_GPU();
  Fixture f;
  constexpr std::pair<int32_t, int32_t> kShapes[] = {{32, 48}, {64, 24}, {256, 128}, {384, 256}};
  const std::vector<TileOut> all = {TileOut::kBf16, TileOut::kF32, TileOut::kSiluMul};
  for (const int32_t gather_div : {0, 1, 8}) {
    for (const DType dtype : {DType::kF8E4m3, DType::kBf16}) {
      for (const auto& [rows, cols] : kShapes) {
        const TileProduct product{.dtype = dtype,
                                  .rows = rows,
                                  .cols = cols,
                                  .gather_div = gather_div,
                                  .rows_per_scale = rows == 384 ? 64 : 128,
                                  .seed = kSeed + 6};
        expect_grouped_right(f, product, all);
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST(TileGemm, TheModelsExpertsAreRight) {
  SKIP_WITHOUT_GPU();
  Fixture f;
  const TileProduct gate_up{.rows = 1024, .cols = 4096, .gather_div = 8, .seed = kSeed + 7};
  expect_grouped_right(f, gate_up, {TileOut::kSiluMul});
  if (HasFatalFailure()) return;
  const TileProduct down{.rows = 4096, .cols = 512, .seed = kSeed + 8};
  expect_grouped_right(f, down, {TileOut::kBf16});
}

TEST(TileGemm, NoRowsTouchNothing) {
  SKIP_WITHOUT_GPU();
  Fixture f;
  TileProduct product{.rows = 256, .cols = 128, .num_rows = 4, .seed = kSeed + 9};
  const TileCase dense(*f.context, product);
  product.num_rows = 0;
  product.counts = {0, 0, 0};
  const TileCase grouped(*f.context, product);
  for (const TileKernel kernel : f.kernels(product, TileOut::kF32)) {
    for (const TileCase* const tile : {&dense, &grouped}) {
      for (const float x : tile->run(f.gemm, kernel, TileOut::kF32, 0)) {
        ASSERT_TRUE(std::isnan(x)) << name_of(kernel);
      }
    }
  }
}

TEST(TileGemm, TheSameProductGivesTheSameBits) {
  SKIP_WITHOUT_GPU();
  Fixture f;
  const TileProduct dense{.rows = 1152, .cols = 512, .num_rows = 650, .seed = kSeed + 10};
  const TileProduct grouped{.rows = 1024,
                            .cols = 512,
                            .num_rows = 900,
                            .counts = {129, 0, 250, 128, 15, 300, 1, 77},
                            .gather_div = 8,
                            .seed = kSeed + 11};
  for (const TileProduct& product : {dense, grouped}) {
    const TileCase tile(*f.context, product);
    for (const TileKernel kernel : f.kernels(product, TileOut::kF32)) {
      const auto first = tile.run(f.gemm, kernel, TileOut::kF32, product.num_rows);
      const auto size = static_cast<size_t>(product.num_rows) * static_cast<size_t>(product.rows);
      for (int32_t repeat = 0; repeat < 1000; ++repeat) {
        // Two launches side by side, as far as the kernels allow it; the last is seen.
        for (int32_t i = 0; i < 2; ++i) {
          tile.queue(f.gemm, kernel, TileOut::kF32, product.num_rows);
        }
        const auto again = tile.fetch(TileOut::kF32, product.num_rows);
        ASSERT_TRUE(
            std::equal(first.begin(), first.begin() + static_cast<ptrdiff_t>(size), again.begin()))
            << name_of(kernel) << " repeat " << repeat << " of " << product;
      }
    }
  }
}

TEST(TileGemm, AutoTakesTheFastestThatFits) {
  SKIP_WITHOUT_GPU();
  Fixture f;
  const TileProduct product{.rows = 256, .cols = 128, .num_rows = 129, .seed = kSeed + 12};
  const TileCase tile(*f.context, product);
  const auto kernels = f.kernels(product, TileOut::kBf16);

  const auto automatic = tile.run(f.gemm, TileKernel::kAuto, TileOut::kBf16, 129);

  expect_right(tile, TileKernel::kAuto, TileOut::kBf16, 129, automatic);
  const auto forced = tile.run(f.gemm, kernels.back(), TileOut::kBf16, 129);
  EXPECT_TRUE(std::equal(forced.begin(), forced.begin() + 129 * 256, automatic.begin()));
}

}  // namespace
}  // namespace mimo::kernels::cuda::test
