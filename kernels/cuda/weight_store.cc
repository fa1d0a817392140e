#include "kernels/cuda/weight_store.h"

#include <cmath>
#include <limits>
#include <string>

#include "base/check.h"
#include "kernels/cuda/random_fill.h"

namespace mimo::kernels::cuda {
namespace {

constexpr int64_t kScaleCols = 128;
constexpr int64_t kRowAlign = 16;
constexpr int64_t kMatrixAlign = 128;
constexpr int64_t kColsMultiple = 8;

std::string shape_name(DType dtype, int64_t rows, int64_t cols) {
  return std::string(dtype_name(dtype)) + " [" + std::to_string(rows) + ", " +
         std::to_string(cols) + "]";
}

int64_t num_scales(int64_t rows, int64_t cols, int32_t rows_per_scale) {
  return (rows + rows_per_scale - 1) / rows_per_scale * ((cols + kScaleCols - 1) / kScaleCols);
}

Result<void> check_shape(const StackShape& shape) {
  const std::string name = shape_name(shape.dtype, shape.rows, shape.cols);
  if (shape.dtype != DType::kBf16 && shape.dtype != DType::kF8E4m3) {
    return invalid_argument("weight dtype: " + std::string(dtype_name(shape.dtype)) +
                            ", expected BF16 or F8_E4M3 on a GPU");
  }
  constexpr int64_t kMax = std::numeric_limits<int32_t>::max();
  if (shape.count <= 0 || shape.rows <= 0 || shape.cols <= 0 || shape.rows > kMax ||
      shape.cols > kMax - kMatrixAlign) {
    return invalid_argument("weight shape: " + std::to_string(shape.count) + " of " + name +
                            ", expected a count, rows and columns above 0");
  }
  if (shape.cols % kColsMultiple != 0) {
    return invalid_argument("weight columns: " + name + ", expected a multiple of " +
                            std::to_string(kColsMultiple) + " columns on a GPU");
  }
  if (shape.dtype == DType::kF8E4m3 && shape.rows_per_scale <= 0) {
    return invalid_argument("rows_per_scale: " + std::to_string(shape.rows_per_scale) +
                            ", expected above 0");
  }
  return {};
}

// The weight's memory is of its shape.
Result<void> check_weight(const HostLinear& weight) {
  const std::string name = shape_name(weight.dtype, weight.rows, weight.cols);
  const int64_t bytes = weight.rows * weight.cols * dtype_bytes(weight.dtype);
  if (static_cast<int64_t>(weight.bytes.size()) != bytes) {
    return invalid_argument("weight bytes: " + std::to_string(weight.bytes.size()) + ", expected " +
                            std::to_string(bytes) + " of " + name);
  }
  const int64_t scales = weight.dtype == DType::kF8E4m3
                             ? num_scales(weight.rows, weight.cols, weight.rows_per_scale)
                             : 0;
  if (static_cast<int64_t>(weight.scales.size()) != scales) {
    return invalid_argument("weight scales: " + std::to_string(weight.scales.size()) +
                            ", expected " + std::to_string(scales) + " of " + name);
  }
  return {};
}

StackShape shape_of(const HostLinear& weight) {
  return {1, weight.dtype, weight.rows, weight.cols, weight.rows_per_scale};
}

}  // namespace

int64_t padded_cols(const StackShape& shape) {
  const int64_t size = dtype_bytes(shape.dtype);
  int64_t row_bytes = (shape.cols * size + kRowAlign - 1) / kRowAlign * kRowAlign;
  if (shape.count > 1) {
    while (shape.rows * row_bytes % kMatrixAlign != 0) row_bytes += kRowAlign;
  }
  return row_bytes / size;
}

Result<DeviceMatrix> WeightStore::reserve(const StackShape& shape) {
  TRY(check_shape(shape));
  DeviceMatrix out;
  out.dtype = shape.dtype;
  out.count = shape.count;
  out.rows = static_cast<int32_t>(shape.rows);
  out.cols = static_cast<int32_t>(shape.cols);
  out.ld = static_cast<int32_t>(padded_cols(shape));
  out.rows_per_scale = shape.dtype == DType::kF8E4m3 ? shape.rows_per_scale : out.rows_per_scale;
  out.scale_cols = static_cast<int32_t>((shape.cols + kScaleCols - 1) / kScaleCols);
  const int64_t value_bytes =
      (out.count * out.value_bytes() + kMatrixAlign - 1) / kMatrixAlign * kMatrixAlign;
  const int64_t scale_bytes =
      shape.dtype == DType::kF8E4m3 ? out.count * out.num_scales() * int64_t{sizeof(float)} : 0;
  TRY_ASSIGN(void* const memory, context_.allocate(value_bytes + scale_bytes, Purpose::kWeights));
  out.values = memory;
  if (scale_bytes > 0) {
    out.scales = reinterpret_cast<const float*>(static_cast<uint8_t*>(memory) + value_bytes);
  }
  return out;
}

void WeightStore::load(const DeviceMatrix& to, int32_t i, const HostLinear& weight) {
  const int64_t size = dtype_bytes(to.dtype);
  auto* const values = static_cast<uint8_t*>(const_cast<void*>(to.values)) + i * to.value_bytes();
  staging_.copy_rows(values, to.ld * size, weight.bytes.data(), to.cols * size, to.rows);
  if (to.scales == nullptr) return;
  staging_.copy(const_cast<float*>(to.scales) + i * to.num_scales(), weight.scales.data(),
                to.num_scales() * int64_t{sizeof(float)});
}

Result<Linear> WeightStore::load_linear(const HostLinear& weight) {
  TRY(check_shape(shape_of(weight)));
  TRY(check_weight(weight));
  TRY_ASSIGN(const DeviceMatrix matrix, reserve(shape_of(weight)));
  load(matrix, 0, weight);
  return context_.add_matrix(matrix);
}

Result<LinearStack> WeightStore::make_stack(const StackShape& shape) {
  TRY_ASSIGN(const DeviceMatrix matrices, reserve(shape));
  return context_.add_stack(matrices);
}

Result<void> WeightStore::load_into(const LinearStack& stack, int32_t i, const HostLinear& weight) {
  const DeviceMatrix& to = context_.stack(stack);
  if (i < 0 || i >= to.count) {
    return invalid_argument("weight " + std::to_string(i) + " of a stack, expected 0 to " +
                            std::to_string(to.count - 1));
  }
  const bool same_scales = to.dtype != DType::kF8E4m3 || weight.rows_per_scale == to.rows_per_scale;
  if (weight.dtype != to.dtype || weight.rows != to.rows || weight.cols != to.cols ||
      !same_scales) {
    return invalid_argument("weight " + std::to_string(i) +
                            " of a stack: " + shape_name(weight.dtype, weight.rows, weight.cols) +
                            ", " + std::to_string(weight.rows_per_scale) +
                            " rows a scale; expected " + shape_name(to.dtype, to.rows, to.cols) +
                            ", " + std::to_string(to.rows_per_scale));
  }
  TRY(check_weight(weight));
  load(to, i, weight);
  return {};
}

// Normal values of deviation 1 / sqrt(cols). Those of e4m3 fill its range: deviation 100, scales
// spread evenly over 0.5 to 2 times what makes up for it (their mean square is 1.75).
void WeightStore::fill(const DeviceMatrix& matrix, uint64_t seed) {
  const float deviation = 1.0f / std::sqrt(static_cast<float>(matrix.cols));
  const bool fp8 = matrix.dtype == DType::kF8E4m3;
  constexpr float kFp8Deviation = 100.0f;
  fill_normal_rows(matrix, fp8 ? kFp8Deviation : deviation, seed, context_.stream());
  if (!fp8) return;
  const float scale = deviation / (kFp8Deviation * std::sqrt(1.75f));
  fill_uniform(const_cast<float*>(matrix.scales), matrix.count * matrix.num_scales(), 0.5f * scale,
               2.0f * scale, seed + 1, context_.stream());
}

Result<Linear> WeightStore::random_linear(const StackShape& shape, uint64_t seed) {
  CHECK_EQ(shape.count, 1);
  TRY_ASSIGN(const DeviceMatrix matrix, reserve(shape));
  fill(matrix, seed);
  return context_.add_matrix(matrix);
}

Result<LinearStack> WeightStore::random_stack(const StackShape& shape, uint64_t seed) {
  TRY_ASSIGN(const DeviceMatrix matrices, reserve(shape));
  fill(matrices, seed);
  return context_.add_stack(matrices);
}

}  // namespace mimo::kernels::cuda
