#include "kernels/cpu/packed_linear.h"

#include <cstring>
#include <string>

#include "kernels/cpu/simd.h"

namespace mimo::kernels {
namespace {

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

Result<void> validate(const HostLinear& w) {
  const auto bad = [&](const std::string& what) {
    return Error{Code::kInvalidArgument, "linear [" + std::to_string(w.rows) + ", " +
                                             std::to_string(w.cols) + "] " + dtype_name(w.dtype) +
                                             ": " + what};
  };
  if (w.rows <= 0 || w.cols <= 0 || w.rows > INT32_MAX / 2 || w.cols > INT32_MAX / 2)
    return bad("rows and cols must be positive");
  if (w.dtype != DType::kF32 && w.dtype != DType::kBf16 && w.dtype != DType::kF8E4m3)
    return bad("dtype must be F32, BF16 or F8_E4M3");
  const int64_t bytes = w.rows * w.cols * dtype_bytes(w.dtype);
  if (static_cast<int64_t>(w.bytes.size()) != bytes)
    return bad(std::to_string(w.bytes.size()) + " bytes, expected " + std::to_string(bytes));
  if (w.dtype != DType::kF8E4m3) {
    if (!w.scales.empty()) return bad("scales, expected none");
    return {};
  }
  if (w.rows_per_scale <= 0) return bad("rows_per_scale must be positive");
  const int64_t scales = ceil_div(w.rows, w.rows_per_scale) * ceil_div(w.cols, kDepth);
  if (static_cast<int64_t>(w.scales.size()) != scales)
    return bad(std::to_string(w.scales.size()) + " scales, expected " + std::to_string(scales));
  return {};
}

float scale_of(const HostLinear& w, int64_t row, int64_t col) {
  return w.scales[row / w.rows_per_scale * ceil_div(w.cols, kDepth) + col / kDepth];
}

bool keeps_halves(const HostLinear& w, CpuMode mode) {
  return w.dtype == DType::kBf16 || (w.dtype == DType::kF8E4m3 && mode == CpuMode::kDevice);
}

template <typename Out, typename Value>
void fill(const HostLinear& w, std::vector<Out>& out, const Value& value) {
  out.resize(static_cast<size_t>(ceil_div(w.rows, kPanel) * w.cols * kPanel));
  for (int64_t row = 0; row < w.rows; ++row) {
    Out* to = out.data() + row / kPanel * w.cols * kPanel + row % kPanel;
    for (int64_t col = 0; col < w.cols; ++col) to[col * kPanel] = value(row, col);
  }
}

template <typename T>
T element(const HostLinear& w, int64_t row, int64_t col) {
  T out;
  std::memcpy(&out, w.bytes.data() + (row * w.cols + col) * sizeof(T), sizeof(T));
  return out;
}

}  // namespace

int64_t PackedLinear::packed_bytes(const HostLinear& w, CpuMode mode) {
  const bool halves = keeps_halves(w, mode);
  const int64_t outputs = ceil_div(w.rows, kPanel) * kPanel;
  const bool scaled = halves && w.dtype == DType::kF8E4m3;
  const int64_t scales = scaled ? outputs * ceil_div(w.cols, kDepth) : 0;
  return outputs * w.cols * (halves ? 2 : 4) + scales * 4;
}

Result<PackedLinear> PackedLinear::pack(const HostLinear& w, CpuMode mode) {
  TRY(validate(w));
  PackedLinear out;
  out.rows_ = static_cast<int32_t>(w.rows);
  out.cols_ = static_cast<int32_t>(w.cols);
  out.num_panels_ = static_cast<int32_t>(ceil_div(w.rows, kPanel));
  out.num_groups_ = static_cast<int32_t>(ceil_div(w.cols, kDepth));
  if (w.dtype == DType::kF32) {
    fill(w, out.floats_, [&](int64_t r, int64_t c) { return element<float>(w, r, c); });
  } else if (w.dtype == DType::kBf16) {
    fill(w, out.halves_, [&](int64_t r, int64_t c) { return element<uint16_t>(w, r, c); });
  } else if (!keeps_halves(w, mode)) {
    fill(w, out.floats_, [&](int64_t r, int64_t c) {
      return e4m3_to_float(element<uint8_t>(w, r, c)) * scale_of(w, r, c);
    });
  } else {
    fill(w, out.halves_, [&](int64_t r, int64_t c) {
      return float_to_bf16(e4m3_to_float(element<uint8_t>(w, r, c)));
    });
    out.scales_.resize(static_cast<size_t>(out.num_panels_) * out.num_groups_ * kPanel);
    for (int64_t row = 0; row < w.rows; ++row) {
      for (int64_t group = 0; group < out.num_groups_; ++group) {
        out.scales_[(row / kPanel * out.num_groups_ + group) * kPanel + row % kPanel] =
            scale_of(w, row, group * kDepth);
      }
    }
  }
  return out;
}

const void* PackedLinear::panel(int32_t panel) const {
  const int64_t at = int64_t{panel} * cols_ * kPanel;
  if (bf16()) return halves_.data() + at;
  return floats_.data() + at;
}

const float* PackedLinear::panel_scales(int32_t panel) const {
  return scales_.data() + int64_t{panel} * num_groups_ * kPanel;
}

float PackedLinear::value(int32_t row, int32_t col) const {
  const int64_t at = (int64_t{row / kPanel} * cols_ + col) * kPanel + row % kPanel;
  const float value = bf16() ? bf16_to_float(halves_[at]) : floats_[at];
  if (!scaled()) return value;
  return value * panel_scales(row / kPanel)[col / kDepth * kPanel + row % kPanel];
}

}  // namespace mimo::kernels
