#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "kernels/ops.h"

namespace mimo::node {

// Arrays of int32 that one step needs on the device: gathered on the host, sent with one upload.
// add() all, then upload(), then at().
//
// Thread:    one.
// Lifetime:  `ops` outlives it and owns the device's side.
class IndexBuffer {
 public:
  // Arrays begin at multiples of 16 bytes.
  static constexpr int64_t kAlign = 4;
  static int64_t padded(int64_t count) { return (count + kAlign - 1) / kAlign * kAlign; }
  // Enough for arrays of so many elements each.
  static int64_t bytes_for(const std::vector<int64_t>& counts) {
    int64_t elements = 0;
    for (const int64_t count : counts) elements += padded(count);
    return elements * int64_t{sizeof(int32_t)};
  }

  Result<void> allocate(kernels::Ops& ops, int64_t bytes) {
    ops_ = &ops;
    capacity_ = bytes / int64_t{sizeof(int32_t)};
    host_.reserve(static_cast<size_t>(capacity_));
    TRY_ASSIGN(void* const memory, ops.allocate(bytes, kernels::Purpose::kWorkspace));
    device_ = static_cast<int32_t*>(memory);
    return {};
  }

  void clear() { host_.clear(); }
  // Where `values` will be once uploaded.
  const int32_t* add(std::span<const int32_t> values) {
    const auto at = static_cast<int64_t>(host_.size());
    CHECK_LE(at + padded(static_cast<int64_t>(values.size())), capacity_);
    host_.insert(host_.end(), values.begin(), values.end());
    host_.resize(static_cast<size_t>(padded(static_cast<int64_t>(host_.size()))), 0);
    return device_ + at;
  }
  void upload() {
    if (host_.empty()) return;
    ops_->upload(device_, host_.data(), static_cast<int64_t>(host_.size() * sizeof(int32_t)));
  }

 private:
  kernels::Ops* ops_ = nullptr;
  int32_t* device_ = nullptr;
  int64_t capacity_ = 0;
  std::vector<int32_t> host_;
};

}  // namespace mimo::node
