#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <ostream>
#include <random>
#include <string>
#include <vector>

#include "kernels/cuda/tile/tile_gemm.h"
#include "tests/kernels/cuda/cuda_support.h"

// Products of many rows: random operands on both sides, what plain sums over doubles make of them,
// and outputs that begin as NaN.
namespace mimo::kernels::cuda::test {

struct TileProduct {
  DType dtype = DType::kF8E4m3;
  int32_t rows = 0;
  int32_t cols = 0;
  int32_t num_rows = 0;              // M; grouped: the sum of `counts`
  std::vector<int32_t> counts = {};  // rows of each expert; empty: one weight
  int32_t gather_div = 0;  // a's row is a permutation's value over this; 0: the row itself
  int32_t rows_per_scale = 128;
  bool whole_numbers = false;   // -2 to 2, scales powers of two: every f32 result is exact
  float scale_octaves = 1;      // scales are log-uniform in 2^+-this
  int32_t only_row_block = -1;  // of 64 weight rows: all others are zero
  int32_t only_col_block = -1;  // of 128 columns
  uint32_t seed = 1;
};

inline std::ostream& operator<<(std::ostream& out, const TileProduct& p) {
  return out << dtype_name(p.dtype) << " M " << p.num_rows << " N " << p.rows << " K " << p.cols
             << " experts " << p.counts.size() << " gather " << p.gather_div << " rows_per_scale "
             << p.rows_per_scale << (p.whole_numbers ? " whole numbers" : "") << " octaves "
             << p.scale_octaves << " only block " << p.only_row_block << ", " << p.only_col_block
             << " seed " << p.seed;
}

inline const char* name_of(TileKernel kernel) {
  constexpr std::array<const char*, 4> kNames = {"auto", "mma.sync", "wgmma", "cuBLASLt"};
  return kNames[static_cast<size_t>(kernel)];
}
inline const char* name_of(TileOut out) {
  constexpr std::array<const char*, 3> kNames = {"bf16", "f32", "silu"};
  return kNames[static_cast<size_t>(out)];
}

// A product on the host and on the device.
class TileCase {
 public:
  static constexpr int32_t kGuardRows = 3;    // behind the output's last row: untouched
  static constexpr int32_t kSpareRows = 100;  // behind the last row of `a`: NaN

  TileCase(DeviceContext& context, const TileProduct& product)
      : context_(context), product_(product), generator_(product.seed) {
    fill_table();
    make_weights();
    make_rows();
    make_plan();
    out_ = context.allocate_array<float>(out_size(), Purpose::kWorkspace).value();
  }

  const TileProduct& product() const { return product_; }
  int32_t out_cols(TileOut out) const {
    return out == TileOut::kSiluMul ? product_.rows / 2 : product_.rows;
  }

  // Queues the product of the first `num_rows` rows (dense) or of all.
  void queue(TileGemm& gemm, TileKernel kernel, TileOut out, int32_t num_rows) const {
    TileGemmParams p;
    p.a = a_;
    p.a_scales = a_scales_;
    p.a_rows = a_rows_;
    p.a_rows_div = std::max(product_.gather_div, 1);
    p.w = w_;
    p.out = out_;
    p.out_kind = out;
    p.num_rows = product_.counts.empty() ? num_rows : rows_max();
    p.plan = product_.counts.empty() ? nullptr : &plan_;
    p.kernel = kernel;
    gemm.run(p);
  }
  // The output [num_rows + kGuardRows, out_cols] as floats, out of NaN.
  std::vector<float> run(TileGemm& gemm, TileKernel kernel, TileOut out, int32_t num_rows) const {
    poison();
    queue(gemm, kernel, out, num_rows);
    return fetch(out, num_rows);
  }
  void poison() const {
    CUDA_CHECK(cudaMemsetAsync(out_, 0xff, static_cast<size_t>(out_size()) * sizeof(float),
                               context_.stream()));
  }
  std::vector<float> fetch(TileOut out, int32_t num_rows) const {
    const int64_t size = int64_t{num_rows + kGuardRows} * out_cols(out);
    if (out == TileOut::kF32) return to_host(context_, static_cast<const float*>(out_), size);
    return bf16_to_host(context_, out_, size);
  }

  // Row r, column c in doubles.
  double want(TileOut out, int32_t r, int32_t c) const {
    if (out != TileOut::kSiluMul) return sum(r, c);
    const double gate = sum(r, c);
    return gate / (1 + std::exp(-gate)) * sum(r, c + product_.rows / 2);
  }

 private:
  int64_t out_size() const { return int64_t{rows_max() + kGuardRows} * product_.rows; }
  // Grouped: some more than there are, as where the host knows only a bound.
  int32_t rows_max() const {
    return product_.num_rows + (product_.counts.empty() ? 0 : kSpareRows);
  }
  int32_t blocks() const { return (product_.cols + 127) / 128; }
  bool scaled() const { return product_.dtype == DType::kF8E4m3; }

  // Normal deviates as the dtype has them, and what they mean.
  void fill_table() {
    std::normal_distribution<float> normal;
    for (size_t i = 0; i < bits_.size(); ++i) {
      const float x = product_.whole_numbers ? static_cast<float>(i % 5) - 2
                                             : normal(generator_) * (scaled() ? 100 : 1);
      bits_[i] = scaled() ? float_to_e4m3(x) : float_to_bf16(x);
      values_[i] =
          scaled() ? e4m3_to_float(static_cast<uint8_t>(bits_[i])) : bf16_to_float(bits_[i]);
    }
  }
  uint16_t draw() { return static_cast<uint16_t>(generator_() % bits_.size()); }
  float draw_scale(float size) {
    if (product_.whole_numbers) return std::exp2(static_cast<float>(generator_() % 3) - 1);
    std::uniform_real_distribution<float> octaves(-product_.scale_octaves, product_.scale_octaves);
    return std::exp2(octaves(generator_)) * size;
  }
  uint16_t weight_bits(uint16_t at) const {
    return scaled() ? bits_[at] : float_to_bf16(values_[at] * w_factor_);
  }
  void append(std::vector<uint8_t>& bytes, uint16_t bits) const {
    bytes.push_back(static_cast<uint8_t>(bits));
    if (!scaled()) bytes.push_back(static_cast<uint8_t>(bits >> 8));
  }

  void make_weights() {
    if (!scaled()) w_factor_ = std::exp2(-std::round(std::log2(product_.cols) / 2.0f));
    const auto count = std::max<size_t>(product_.counts.size(), 1);
    const bool one_block = product_.only_row_block >= 0;
    std::vector<Weight> weights;
    for (size_t e = 0; e < count; ++e) {
      Weight weight{product_.dtype, product_.rows, product_.cols, product_.rows_per_scale, {}, {}};
      for (int32_t r = 0; r < product_.rows; ++r) {
        for (int32_t c = 0; c < product_.cols; ++c) {
          const uint16_t at = draw();
          const bool there = !one_block || (r / 64 == product_.only_row_block &&
                                            c / 128 == product_.only_col_block);
          w_at_.push_back(there ? at : kZero);
          append(weight.bytes, there ? weight_bits(at) : uint16_t{0});
        }
      }
      const float size = 0.01f / std::sqrt(static_cast<float>(product_.cols));
      const int32_t scale_rows =
          (product_.rows + weight.rows_per_scale - 1) / weight.rows_per_scale;
      for (int32_t i = 0; scaled() && i < scale_rows * blocks(); ++i) {
        weight.scales.push_back(draw_scale(size));
      }
      scales_.insert(scales_.end(), weight.scales.begin(), weight.scales.end());
      weights.push_back(std::move(weight));
    }
    w_ = device_weights(context_, weights);
  }

  void make_rows() {
    const int32_t div = std::max(product_.gather_div, 1);
    const int32_t num_sources = (product_.num_rows + div - 1) / div;
    std::vector<uint8_t> bytes;
    std::vector<float> scales;
    for (int64_t i = 0; i < int64_t{num_sources} * product_.cols; ++i) {
      a_at_.push_back(draw());
      append(bytes, bits_[a_at_.back()]);
    }
    for (int32_t i = 0; i < num_sources * blocks(); ++i) scales.push_back(draw_scale(0.01f));
    source_scales_ = scales;
    bytes.insert(bytes.end(),
                 static_cast<size_t>(kSpareRows * product_.cols * dtype_bytes(product_.dtype)),
                 uint8_t{0xff});
    scales.insert(scales.end(), static_cast<size_t>(kSpareRows * blocks()),
                  mimo::kernels::test::kNan);
    a_ = device_array(context_, bytes);
    if (scaled()) a_scales_ = device_array(context_, scales);
    sources_.resize(static_cast<size_t>(product_.num_rows));
    std::iota(sources_.begin(), sources_.end(), 0);
    if (product_.gather_div == 0) return;
    std::shuffle(sources_.begin(), sources_.end(), generator_);
    std::vector<int32_t> rows = sources_;
    rows.resize(rows.size() + kSpareRows, -1);
    a_rows_ = device_array(context_, rows);
    for (int32_t& row : sources_) row /= div;
  }

  void make_plan() {
    expert_of_.assign(static_cast<size_t>(product_.num_rows), 0);
    std::vector<int4> tiles;
    int32_t row = 0;
    for (size_t e = 0; e < product_.counts.size(); ++e) {
      const int32_t count = product_.counts[e];
      for (int32_t at = 0; at < count; at += 128) {
        tiles.push_back(make_int4(static_cast<int32_t>(e), row + at, std::min(count - at, 128), 0));
      }
      std::fill_n(expert_of_.begin() + row, count, static_cast<int32_t>(e));
      row += count;
    }
    const auto num_tiles = static_cast<int32_t>(tiles.size());
    plan_.num_tiles = device_array(context_, std::vector<int32_t>{num_tiles});
    tiles.resize(tiles.size() + 4, make_int4(-1, -1, -1, -1));
    plan_.tiles = device_array(context_, tiles);
  }

  double sum(int32_t r, int32_t n) const {
    const int64_t cols = product_.cols;
    const int64_t source = sources_[static_cast<size_t>(r)];
    const int64_t expert = expert_of_[static_cast<size_t>(r)];
    const uint16_t* const a = a_at_.data() + source * cols;
    const uint16_t* const w = w_at_.data() + (expert * product_.rows + n) * cols;
    const int64_t scale_rows =
        (product_.rows + product_.rows_per_scale - 1) / product_.rows_per_scale;
    double out = 0;
    for (int64_t block = 0; block < blocks(); ++block) {
      double part = 0;
      for (int64_t c = block * 128; c < std::min(cols, (block + 1) * 128); ++c) {
        if (w[c] != kZero) part += double{values_[a[c]]} * double{values_[w[c]]};
      }
      if (scaled()) {
        const int64_t scale_row = expert * scale_rows + n / product_.rows_per_scale;
        part *= double{source_scales_[static_cast<size_t>(source * blocks() + block)]} *
                double{scales_[static_cast<size_t>(scale_row * blocks() + block)]};
      }
      out += part;
    }
    return out * double{w_factor_};
  }

  static constexpr uint16_t kZero = 0xffff;
  DeviceContext& context_;
  TileProduct product_;
  std::mt19937 generator_;
  std::array<uint16_t, 4096> bits_;
  std::array<float, 4096> values_;
  float w_factor_ = 1;          // of bf16 weights: a power of two that makes sums of size 1
  std::vector<uint16_t> w_at_;  // [count][rows][cols] places in the table
  std::vector<uint16_t> a_at_;  // [sources][cols]
  std::vector<float> scales_;
  std::vector<float> source_scales_;
  std::vector<int32_t> sources_;    // [M] a's row of each output row
  std::vector<int32_t> expert_of_;  // [M]
  DeviceMatrix w_;
  const void* a_ = nullptr;
  const float* a_scales_ = nullptr;
  const int32_t* a_rows_ = nullptr;
  ExpertPlan plan_;
  void* out_ = nullptr;
};

}  // namespace mimo::kernels::cuda::test
