// What the CPU backend's products and draws cost, in milliseconds of one thread's own time (other
// work on the machine does not count), beside OpenBLAS where it is installed.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <functional>
#include <random>
#include <vector>

#include "kernels/ops.h"
#if defined(MIMO_OPENBLAS)
#include <cblas.h>
#endif

namespace mimo::kernels {
namespace {

constexpr uint32_t kSeed = 1;
constexpr int32_t kWidth = 4096;
constexpr int32_t kVocab = 152576;

double thread_ms() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) * 1e-6;
}

double best_ms(const std::function<void()>& work) {
  double best = 1e9;
  for (int i = 0; i < 7; ++i) {
    const double begin = thread_ms();
    work();
    best = std::min(best, thread_ms() - begin);
  }
  return best;
}

std::vector<float> normal(size_t size) {
  std::mt19937 generator(kSeed);
  std::normal_distribution<float> deviate(0, 3);
  std::vector<float> out(size);
  for (float& x : out) x = deviate(generator);
  return out;
}

#if defined(MIMO_OPENBLAS)
void blas(const std::vector<float>& x, const std::vector<float>& w, int rows, int width,
          std::vector<float>& out) {
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, rows, width, width, 1, x.data(), width,
              w.data(), width, 0, out.data(), width);
}

// Rows of a product that have other bits when they are computed alone.
void bench_blas() {
  openblas_set_num_threads(1);
  const auto w = normal(size_t{kWidth} * kWidth);
  const auto x = normal(size_t{512} * kWidth);
  std::vector<float> out(size_t{512} * kWidth);
  std::vector<float> alone(kWidth);
  for (const int rows : {1, 8, 64, 512}) {
    std::printf("{\"bench\":\"openblas\",\"rows\":%d,\"width\":%d,\"ms\":%.3f}\n", rows, kWidth,
                best_ms([&] { blas(x, w, rows, kWidth, out); }));
  }
  for (const int width : {256, 512, kWidth}) {
    for (const int rows : {3, 8, 64}) {
      blas(x, w, rows, width, out);
      int differ = 0;
      for (int r = 0; r < rows; ++r) {
        const std::vector<float> row(x.begin() + r * width, x.begin() + (r + 1) * width);
        blas(row, w, 1, width, alone);
        differ += std::memcmp(alone.data(), &out[static_cast<size_t>(r) * width],
                              sizeof(float) * static_cast<size_t>(width)) != 0;
      }
      std::printf("{\"bench\":\"openblas_rows_that_differ\",\"rows\":%d,\"width\":%d,\"n\":%d}\n",
                  rows, width, differ);
    }
  }
}
#endif

void bench_products(DType dtype) {
  auto ops = make_cpu_ops({.num_threads = 1}).value();
  const auto values = normal(size_t{kWidth} * kWidth);
  std::vector<uint16_t> halves;
  for (const float x : values) halves.push_back(float_to_bf16(x));
  const auto* bytes = dtype == DType::kF32 ? reinterpret_cast<const uint8_t*>(values.data())
                                           : reinterpret_cast<const uint8_t*>(halves.data());
  const size_t size = values.size() * static_cast<size_t>(dtype_bytes(dtype));
  const Linear w = ops->load_linear({dtype, kWidth, kWidth, {bytes, size}, {}, 128}).value();
  const auto x = normal(size_t{512} * kWidth);
  std::vector<float> out(size_t{512} * kWidth);
  for (const int32_t rows : {1, 8, 64, 512}) {
    std::printf("{\"bench\":\"product_%s\",\"rows\":%d,\"width\":%d,\"ms\":%.3f}\n",
                dtype_name(dtype), rows, kWidth, best_ms([&] {
                  ops->linear({x.data(), w, out.data(), true, rows});
                }));
  }
}

void bench_draw(const char* name, const SamplingParams& params) {
  auto ops = make_cpu_ops({.num_threads = 1}).value();
  const auto logits = normal(kVocab);
  std::vector<int32_t> tokens;
  for (int32_t i = 0; i < 4000; ++i) tokens.push_back(i * 37 % kVocab);
  ops->set_sampler(0, {params, tokens, 1000});
  const int32_t zero = 0;
  const int32_t position = 4000;
  int32_t last_token = 0;
  DrawResult result;
  std::vector<TokenLogprob> top(kTopLogprobsMax);
  SampleParams p;
  p.logits = logits.data();
  p.shard_cols = kVocab;
  p.vocab_limit = kVocab;
  p.num_rows = 1;
  p.rows = &zero;
  p.slots = &zero;
  p.positions = &position;
  p.num_draws = 1;
  p.last_tokens = &last_token;
  p.results = &result;
  p.top = top.data();
  p.top_max = kTopLogprobsMax;
  std::printf("{\"bench\":\"draw_%s\",\"vocab\":%d,\"ms\":%.3f}\n", name, kVocab,
              best_ms([&] { ops->sample(p); }));
}

void bench_draws() {
  SamplingParams p;
  p.temperature = 0;
  bench_draw("greedy", p);
  p.num_logprobs = 5;
  bench_draw("greedy_5_logprobs", p);
  p.num_logprobs = -1;
  p.temperature = 1;
  bench_draw("temperature", p);
  p.top_p = 0.95f;
  bench_draw("top_p", p);
  p.top_k = 50;
  bench_draw("top_k_50_top_p", p);
  p.top_k = 100000;
  p.min_p = 1e-6f;
  p.temperature = 2;
  p.repetition_penalty = 1.1f;
  p.presence_penalty = 0.1f;
  p.frequency_penalty = 0.1f;
  p.num_logprobs = 5;
  bench_draw("everything", p);
}

}  // namespace
}  // namespace mimo::kernels

int main() {
  using namespace mimo::kernels;
  std::printf("{\"bench\":\"kernels\",\"seed\":%u}\n", kSeed);
#if defined(MIMO_OPENBLAS)
  bench_blas();
#endif
  bench_products(mimo::DType::kF32);
  bench_products(mimo::DType::kBf16);
  bench_draws();
}
