#include "lockstep_mirror.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>

#include "base/check.h"
#include "kernels/cpu/rounding.h"

namespace mimo::node::model_test {
namespace {

using kernels::Rows;

constexpr int32_t kGroupCols = 128;

// The FP8 copy of [*, cols], as add_norm is to leave it.
struct Fp8Copy {
  std::vector<uint8_t> q;
  std::vector<float> scales;
};
Fp8Copy fp8_copy(std::span<const float> values, int32_t cols) {
  Fp8Copy out;
  for (size_t row = 0; row < values.size(); row += static_cast<size_t>(cols)) {
    for (int32_t begin = 0; begin < cols; begin += kGroupCols) {
      const auto group = values.subspan(row + static_cast<size_t>(begin),
                                        static_cast<size_t>(std::min(kGroupCols, cols - begin)));
      float largest = 0;
      for (const float x : group) largest = std::max(largest, std::fabs(x));
      const float scale = kernels::fp8_scale(largest);
      const float inverse = 1.0f / scale;
      for (const float x : group) out.q.push_back(float_to_e4m3(x * inverse));
      out.scales.push_back(scale);
    }
  }
  return out;
}

}  // namespace

Result<void> LockstepMirror::add(void* first, int64_t bytes, kernels::Purpose purpose) {
  TRY_ASSIGN(void* const second, second_.allocate(bytes, purpose));
  regions_[static_cast<const uint8_t*>(first)] = {bytes, static_cast<uint8_t*>(second)};
  return {};
}

Result<void> LockstepMirror::add_rows(const Rows& first, int64_t num_rows) {
  TRY_ASSIGN(const Rows second, second_.allocate_rows(num_rows, first.cols));
  regions_[static_cast<const uint8_t*>(first.values)] = {
      num_rows * first.cols * int64_t{sizeof(float)}, static_cast<uint8_t*>(second.values)};
  rows_[first.values] = second;
  return {};
}

std::map<const uint8_t*, LockstepMirror::Region>::const_iterator LockstepMirror::region(
    const void* first) const {
  const auto* const at = static_cast<const uint8_t*>(first);
  auto found = regions_.upper_bound(at);
  CHECK(found != regions_.begin());
  found = std::prev(found);
  CHECK_LE(at - found->first, found->second.bytes);
  return found;
}

const void* LockstepMirror::find(const void* first) const {
  if (first == nullptr) return nullptr;
  const auto found = region(first);
  return found->second.second + (static_cast<const uint8_t*>(first) - found->first);
}

int64_t LockstepMirror::rest(const void* first) const {
  if (first == nullptr) return 0;
  const auto found = region(first);
  return found->second.bytes - (static_cast<const uint8_t*>(first) - found->first);
}

void LockstepMirror::fill(const void* first, int64_t bytes) const {
  if (first == nullptr || bytes == 0) return;
  CHECK_LE(bytes, rest(first));
  const std::vector<uint8_t> poison(static_cast<size_t>(bytes), 0xff);
  second_.upload(const_cast<void*>(find(first)), poison.data(), bytes);
}

uint8_t* LockstepMirror::activation_place(const void* first) const {
  const auto found = region(first);
  const int64_t offset = static_cast<const uint8_t*>(first) - found->first;
  return found->second.second + offset / int64_t{sizeof(float)} * activation_bytes();
}

void* LockstepMirror::activations(const void* first, int64_t count) const {
  if (first == nullptr) return nullptr;
  uint8_t* const to = activation_place(first);
  const auto* const values = static_cast<const float*>(first);
  if (second_.activation_dtype() == DType::kF32) {
    second_.upload(to, values, count * int64_t{sizeof(float)});
    return to;
  }
  CHECK(second_.activation_dtype() == DType::kBf16);
  std::vector<uint16_t> bits;
  for (int64_t i = 0; i < count; ++i) {
    bits.push_back(float_to_bf16(values[i]));
    CHECK(bf16_to_float(bits.back()) == values[i]);
  }
  second_.upload(to, bits.data(), count * int64_t{sizeof(uint16_t)});
  return to;
}

void* LockstepMirror::poisoned_activations(const void* first, int64_t count) const {
  const std::vector<uint8_t> poison(static_cast<size_t>(count * activation_bytes()), 0xff);
  uint8_t* const to = activation_place(first);
  second_.upload(to, poison.data(), static_cast<int64_t>(poison.size()));
  return to;
}

std::vector<float> LockstepMirror::read_activations(const void* first, int64_t count) const {
  std::vector<float> out(static_cast<size_t>(count));
  const uint8_t* const from = activation_place(first);
  if (second_.activation_dtype() == DType::kF32) {
    second_.download(out.data(), from, count * int64_t{sizeof(float)});
    return out;
  }
  std::vector<uint16_t> bits(out.size());
  second_.download(bits.data(), from, count * int64_t{sizeof(uint16_t)});
  std::transform(bits.begin(), bits.end(), out.begin(), bf16_to_float);
  return out;
}

Rows LockstepMirror::rows(const Rows& first, int64_t num_rows) const {
  const Rows& second = rows_.at(first.values);
  activations(first.values, num_rows * first.cols);
  if (second.q == nullptr) return second;
  const auto count = static_cast<size_t>(num_rows * first.cols);
  const Fp8Copy copy = fp8_copy({static_cast<const float*>(first.values), count}, first.cols);
  second_.upload(second.q, copy.q.data(), static_cast<int64_t>(copy.q.size()));
  second_.upload(second.q_scales, copy.scales.data(),
                 static_cast<int64_t>(copy.scales.size() * sizeof(float)));
  return second;
}

Rows LockstepMirror::poisoned_rows(const Rows& first, int64_t num_rows) const {
  const Rows& second = rows_.at(first.values);
  poisoned_activations(first.values, num_rows * first.cols);
  if (second.q == nullptr) return second;
  const int64_t num_groups = (first.cols + kGroupCols - 1) / kGroupCols;
  const std::vector<uint8_t> poison(static_cast<size_t>(num_rows * first.cols), 0xff);
  const std::vector<int32_t> scales(static_cast<size_t>(num_rows * num_groups), -1);
  second_.upload(second.q, poison.data(), static_cast<int64_t>(poison.size()));
  second_.upload(second.q_scales, scales.data(),
                 static_cast<int64_t>(scales.size() * sizeof(int32_t)));
  return second;
}

bool LockstepMirror::fp8_copy_is_its_own(const Rows& first,
                                         const std::vector<float>& values) const {
  const Rows& second = rows_.at(first.values);
  if (second.q == nullptr) return true;
  const Fp8Copy want = fp8_copy(values, first.cols);
  Fp8Copy out = want;
  second_.download(out.q.data(), second.q, static_cast<int64_t>(out.q.size()));
  second_.download(out.scales.data(), second.q_scales,
                   static_cast<int64_t>(out.scales.size() * sizeof(float)));
  return out.q == want.q && out.scales == want.scales;
}

}  // namespace mimo::node::model_test
