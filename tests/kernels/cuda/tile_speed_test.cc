#include <algorithm>
#include <cstdio>
#include <numeric>

#include "kernels/cuda/tile/tile_gemm.h"
#include "tests/kernels/cuda/cuda_support.h"

namespace mimo::kernels::cuda::test {
namespace {

// What an 8192-token chunk of one of four ranks multiplies, on random values, and how long it may
// take on an H200. Elsewhere the times are only printed.
class TileSpeed : public ::testing::Test {
 protected:
  void SetUp() override {
    SKIP_WITHOUT_GPU();
    context_ = make_context();
    gemm_ = std::make_unique<TileGemm>(*context_);
    gemm_->prepare({}).value();
    CUDA_CHECK(cudaEventCreate(&begin_));
    CUDA_CHECK(cudaEventCreate(&end_));
  }
  void TearDown() override {
    if (begin_ != nullptr) cudaEventDestroy(begin_);
    if (end_ != nullptr) cudaEventDestroy(end_);
  }

  bool is_h200() const { return context_->capability() == 90 && context_->num_sms() == 132; }

  // Normal e4m3 values; from 32 MB on they come again, which no cache sees.
  const uint8_t* e4m3(int64_t count) {
    constexpr int64_t kPeriod = (int64_t{32} << 20) + 77 * 16;
    std::mt19937 generator(7);
    std::normal_distribution<float> normal(0, 100);
    std::vector<uint8_t> few(4096);
    for (uint8_t& x : few) x = float_to_e4m3(normal(generator));
    std::vector<uint8_t> values(static_cast<size_t>(std::min(count, kPeriod)));
    for (uint8_t& x : values) x = few[generator() % few.size()];
    auto* const out = context_->allocate_array<uint8_t>(count, Purpose::kWorkspace).value();
    for (int64_t at = 0; at < count; at += kPeriod) {
      CUDA_CHECK(cudaMemcpyAsync(out + at, values.data(),
                                 static_cast<size_t>(std::min(kPeriod, count - at)),
                                 cudaMemcpyHostToDevice, context_->stream()));
    }
    CUDA_CHECK(cudaStreamSynchronize(context_->stream()));
    return out;
  }
  const float* scales(int64_t count) {
    std::mt19937 generator(8);
    std::uniform_real_distribution<float> uniform(1e-4f, 2e-4f);
    std::vector<float> values(static_cast<size_t>(count));
    for (float& x : values) x = uniform(generator);
    return device_array(*context_, values);
  }
  DeviceMatrix weights(int32_t count, int32_t rows, int32_t cols) {
    DeviceMatrix w;
    w.dtype = DType::kF8E4m3;
    w.count = count;
    w.rows = rows;
    w.cols = cols;
    w.ld = cols;
    w.scale_cols = cols / 128;
    w.values = e4m3(int64_t{count} * rows * cols);
    w.scales = scales(count * w.num_scales());
    return w;
  }

  // The median of 15 launches, in microseconds, printed.
  double time(const char* name, const TileGemmParams& p, double flops) {
    std::vector<float> times;
    for (int32_t i = 0; i < 18; ++i) {
      CUDA_CHECK(cudaEventRecord(begin_, context_->stream()));
      gemm_->run(p);
      CUDA_CHECK(cudaEventRecord(end_, context_->stream()));
      CUDA_CHECK(cudaEventSynchronize(end_));
      float ms = 0;
      CUDA_CHECK(cudaEventElapsedTime(&ms, begin_, end_));
      if (i >= 3) times.push_back(ms * 1000);
    }
    std::sort(times.begin(), times.end());
    const double us = times[times.size() / 2];
    std::printf("%-24s %9.1f us %7.0f TFLOP/s\n", name, us, flops / us * 1e-6);
    return us;
  }

  std::unique_ptr<DeviceContext> context_;
  std::unique_ptr<TileGemm> gemm_;
  cudaEvent_t begin_ = nullptr;
  cudaEvent_t end_ = nullptr;
};

TEST_F(TileSpeed, QkvOf8192Tokens) {
  constexpr int32_t kTokens = 8192;
  TileGemmParams p;
  p.w = weights(1, 3712, 4096);
  p.a = e4m3(int64_t{kTokens} * p.w.cols);
  p.a_scales = scales(int64_t{kTokens} * p.w.scale_cols);
  p.out = poisoned_array<uint16_t>(*context_, int64_t{kTokens} * p.w.rows);
  for (const int32_t num_rows : {128, 256, 1024, 8192}) {
    p.num_rows = num_rows;
    const double flops = 2.0 * num_rows * p.w.rows * p.w.cols;
    const std::string name = "qkv " + std::to_string(num_rows);
    p.kernel = TileKernel::kMmaSync;
    time((name + " mma.sync").c_str(), p, flops);
    p.kernel = TileKernel::kAuto;
    const double us = time((name + " auto").c_str(), p, flops);
    if (is_h200() && num_rows == 8192) {
      EXPECT_GE(flops / us * 1e-6, 700);
    }
  }
}

TEST_F(TileSpeed, ExpertsOf8192Tokens) {
  constexpr int32_t kExperts = 256, kRows = 256 * kExperts, kTokens = kRows / 8;
  std::vector<int4> tiles;
  for (int32_t at = 0; at < kRows; at += 128) tiles.push_back(make_int4(at / 256, at, 128, 0));
  std::vector<int32_t> pairs(kRows);
  std::iota(pairs.begin(), pairs.end(), 0);
  std::shuffle(pairs.begin(), pairs.end(), std::mt19937(9));
  ExpertPlan plan;
  plan.tiles = device_array(*context_, tiles);
  plan.num_tiles = device_array(*context_, std::vector<int32_t>{kRows / 128});
  TileGemmParams p;
  p.plan = &plan;
  p.num_rows = kRows;
  p.out = poisoned_array<uint16_t>(*context_, int64_t{kRows} * 4096);
  const double flops = 2.0 * kRows * 1024 * 4096;
  p.w = weights(kExperts, 1024, 4096);
  p.a = e4m3(int64_t{kTokens} * 4096);
  p.a_scales = scales(int64_t{kTokens} * 32);
  p.a_rows = device_array(*context_, pairs);
  p.a_rows_div = 8;
  p.out_kind = TileOut::kSiluMul;
  p.kernel = TileKernel::kMmaSync;
  time("gate_up mma.sync", p, flops);
  p.kernel = TileKernel::kAuto;
  const double gate_up_us = time("gate_up auto", p, flops);

  p.w = weights(kExperts, 4096, 512);
  p.a = e4m3(int64_t{kRows} * 512);
  p.a_scales = scales(int64_t{kRows} * 4);
  p.a_rows = nullptr;
  p.a_rows_div = 1;
  p.out_kind = TileOut::kBf16;
  p.kernel = TileKernel::kMmaSync;
  time("down mma.sync", p, flops / 2);
  p.kernel = TileKernel::kAuto;
  const double down_us = time("down auto", p, flops / 2);
  if (!is_h200()) return;
  EXPECT_LE(gate_up_us, 900);
  EXPECT_LE(down_us, 550);
}

}  // namespace
}  // namespace mimo::kernels::cuda::test
