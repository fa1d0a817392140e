#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "kernels/ops.h"
#include "kernels/reference/reference.h"

// Random weights and activations, pools full of NaN, and what the operations' tests compare with.
namespace mimo::kernels::test {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr CpuMode kModes[] = {CpuMode::kF32, CpuMode::kDevice};

inline std::unique_ptr<Ops> cpu_ops(CpuMode mode, int32_t num_threads = 2) {
  return make_cpu_ops({.mode = mode, .num_threads = num_threads}).value();
}

inline std::vector<float> poisoned(int64_t size) {
  return std::vector<float>(static_cast<size_t>(size), kNan);
}

// Normal deviates; bf16 values in kDevice, as activations are.
inline std::vector<float> random_floats(int64_t size, uint32_t seed, CpuMode mode,
                                        float deviation = 1.0f) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0.0f, deviation);
  std::vector<float> out(static_cast<size_t>(size));
  for (float& x : out) {
    x = static_cast<float>(reference::stored(normal(generator), mode));
  }
  return out;
}

// A weight and the memory that its HostLinear views.
struct Weight {
  HostLinear view() const { return {dtype, rows, cols, bytes, scales, rows_per_scale}; }

  DType dtype = DType::kF32;
  int64_t rows = 0;
  int64_t cols = 0;
  int32_t rows_per_scale = 128;
  std::vector<uint8_t> bytes;
  std::vector<float> scales;
};

inline Weight random_weight(DType dtype, int64_t rows, int64_t cols, uint32_t seed,
                            int32_t rows_per_scale = 128) {
  Weight out{dtype, rows, cols, rows_per_scale, {}, {}};
  const float deviation = 1.0f / std::sqrt(static_cast<float>(cols));
  const auto values = random_floats(rows * cols, seed, CpuMode::kF32, deviation);
  const auto append = [&](auto value) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(&value);
    out.bytes.insert(out.bytes.end(), bytes, bytes + sizeof value);
  };
  for (const float x : values) {
    if (dtype == DType::kF32) append(x);
    if (dtype == DType::kBf16) append(float_to_bf16(x));
    if (dtype == DType::kF8E4m3) append(float_to_e4m3(x * 100.0f / deviation));
  }
  if (dtype != DType::kF8E4m3) return out;
  std::mt19937 generator(seed + 1);
  std::uniform_real_distribution<float> uniform(0.5f, 2.0f);
  const int64_t num_scales = (rows + rows_per_scale - 1) / rows_per_scale * ((cols + 127) / 128);
  for (int64_t i = 0; i < num_scales; ++i) {
    out.scales.push_back(uniform(generator) * deviation / 100.0f);
  }
  return out;
}

// All of `weights` in one stack of the backend's; they have one shape. None: a stack of none.
inline LinearStack load_stack(Ops& ops, std::span<const Weight> weights) {
  if (weights.empty()) return {};
  const Weight& first = weights.front();
  const LinearStack out = ops.make_stack({static_cast<int32_t>(weights.size()), first.dtype,
                                          first.rows, first.cols, first.rows_per_scale})
                              .value();
  for (size_t i = 0; i < weights.size(); ++i) {
    ops.load_into(out, static_cast<int32_t>(i), weights[i].view()).value();
  }
  return out;
}

// |out - want| / |want|, both as long vectors; infinite where `out` has a NaN.
inline double relative_error(std::span<const float> out, const reference::Matrix& want) {
  EXPECT_EQ(out.size(), want.data.size());
  double difference = 0;
  double size = 0;
  for (size_t i = 0; i < out.size(); ++i) {
    if (std::isnan(out[i])) return std::numeric_limits<double>::infinity();
    difference += (out[i] - want.data[i]) * (out[i] - want.data[i]);
    size += want.data[i] * want.data[i];
  }
  return size == 0 ? std::sqrt(difference) : std::sqrt(difference / size);
}

inline double max_difference(std::span<const float> out, const reference::Matrix& want) {
  EXPECT_EQ(out.size(), want.data.size());
  double most = 0;
  for (size_t i = 0; i < out.size(); ++i) {
    if (std::isnan(out[i])) return std::numeric_limits<double>::infinity();
    most = std::max(most, std::fabs(out[i] - want.data[i]));
  }
  return most;
}

// Float sums of float products keep 1e-5 of the result's size; one bf16 rounding at the end takes
// up to 2^-9 of each value. An intermediate that is rounded too, to bf16 and then to e4m3, may fall
// on the other side of an e4m3 step (2^-4 of it) where the float sum before it was near an edge.
inline double tolerance(CpuMode mode, bool intermediate = false) {
  if (mode == CpuMode::kF32) return 1e-5;
  return intermediate ? 6e-3 : 3e-3;
}

inline bool holds_bf16(std::span<const float> values) {
  for (const float x : values) {
    if (bf16_to_float(float_to_bf16(x)) != x) return false;
  }
  return true;
}

inline std::string mode_name(CpuMode mode) { return mode == CpuMode::kF32 ? "f32" : "device"; }

}  // namespace mimo::kernels::test
