#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kernels/cuda/cuda_check.h"
#include "kernels/cuda/device_context.h"
#include "kernels/cuda/launch.h"
#include "tests/kernels/support.h"

// Device memory for tests: uploaded copies, outputs full of NaN.
namespace mimo::kernels::cuda::test {

using mimo::kernels::test::Weight;

inline bool has_gpu() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
}
#define SKIP_WITHOUT_GPU() \
  if (!::mimo::kernels::cuda::test::has_gpu()) GTEST_SKIP() << "no GPU here"

inline std::unique_ptr<DeviceContext> make_context() { return DeviceContext::create({}).value(); }

// An array on the device, owned by the context.
template <typename T>
T* device_array(DeviceContext& context, std::span<const T> values) {
  T* const out =
      context.allocate_array<T>(static_cast<int64_t>(values.size()) + 1, Purpose::kWorkspace)
          .value();
  CUDA_CHECK(cudaMemcpyAsync(out, values.data(), values.size_bytes(), cudaMemcpyHostToDevice,
                             context.stream()));
  CUDA_CHECK(cudaStreamSynchronize(context.stream()));
  return out;
}
template <typename T>
T* device_array(DeviceContext& context, const std::vector<T>& values) {
  return device_array(context, std::span<const T>(values));
}

// Bytes of 0xff: NaN as bf16, as f32 and as e4m3; -1 as an index.
template <typename T>
T* poisoned_array(DeviceContext& context, int64_t count) {
  T* const out = context.allocate_array<T>(count, Purpose::kWorkspace).value();
  CUDA_CHECK(cudaMemsetAsync(out, 0xff, static_cast<size_t>(count) * sizeof(T), context.stream()));
  return out;
}

template <typename T>
std::vector<T> to_host(DeviceContext& context, const T* values, int64_t count) {
  std::vector<T> out(static_cast<size_t>(count));
  CUDA_CHECK(cudaMemcpyAsync(out.data(), values, out.size() * sizeof(T), cudaMemcpyDeviceToHost,
                             context.stream()));
  CUDA_CHECK(cudaStreamSynchronize(context.stream()));
  return out;
}

// Floats as bf16 on the device, and back.
inline uint16_t* device_bf16(DeviceContext& context, std::span<const float> values) {
  std::vector<uint16_t> bits;
  for (const float x : values) bits.push_back(float_to_bf16(x));
  return device_array(context, bits);
}
inline std::vector<float> bf16_to_host(DeviceContext& context, const void* values, int64_t count) {
  std::vector<float> out;
  for (const uint16_t x : to_host(context, static_cast<const uint16_t*>(values), count)) {
    out.push_back(bf16_to_float(x));
  }
  return out;
}

// A weight as the backend keeps it: rows padded to 16 bytes.
inline DeviceMatrix device_weights(DeviceContext& context, std::span<const Weight> weights) {
  const Weight& first = weights.front();
  DeviceMatrix out;
  out.dtype = first.dtype;
  out.count = static_cast<int32_t>(weights.size());
  out.rows = static_cast<int32_t>(first.rows);
  out.cols = static_cast<int32_t>(first.cols);
  const int64_t size = dtype_bytes(first.dtype);
  const int64_t ld_bytes = (first.cols * size + 15) / 16 * 16;
  out.ld = static_cast<int32_t>(ld_bytes / size);
  out.rows_per_scale = first.rows_per_scale;
  out.scale_cols = (out.cols + 127) / 128;
  std::vector<uint8_t> values(static_cast<size_t>(out.count * out.rows * ld_bytes), 0);
  std::vector<float> scales;
  for (int64_t e = 0; e < out.count; ++e) {
    const Weight& weight = weights[static_cast<size_t>(e)];
    for (int64_t r = 0; r < out.rows; ++r) {
      std::copy_n(weight.bytes.begin() + r * out.cols * size, out.cols * size,
                  values.begin() + (e * out.rows + r) * ld_bytes);
    }
    scales.insert(scales.end(), weight.scales.begin(), weight.scales.end());
  }
  out.values = device_array(context, values);
  if (!scales.empty()) out.scales = device_array(context, scales);
  return out;
}
inline DeviceMatrix device_weight(DeviceContext& context, const Weight& weight) {
  return device_weights(context, std::span<const Weight>(&weight, 1));
}

}  // namespace mimo::kernels::cuda::test
