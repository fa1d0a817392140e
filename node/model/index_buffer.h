#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "base/check.h"
#include "base/result.h"
#include "kernels/ops.h"

namespace mimo::node {

// Arrays of int32 that one step needs on the device: gathered in pinned host memory, sent with one
// upload. There is one copy on the device, which a step overwrites only after the one before has
// read it, and one on the host for each step that may be out.
// begin(), add() all, upload(), then sent() with a mark behind the upload.
//
// Thread:    one.
// Lifetime:  `ops` outlives it and owns all memory.
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

  Result<void> allocate(kernels::Ops& ops, int64_t bytes, int32_t num_copies) {
    ops_ = &ops;
    capacity_ = bytes / int64_t{sizeof(int32_t)};
    TRY_ASSIGN(void* const memory, ops.allocate(bytes, kernels::Purpose::kWorkspace));
    device_ = static_cast<int32_t*>(memory);
    for (int32_t i = 0; i < num_copies; ++i) {
      TRY_ASSIGN(void* const host, ops.allocate_host(bytes));
      copies_.push_back({static_cast<int32_t*>(host), {}});
    }
    return {};
  }

  int32_t num_copies() const { return static_cast<int32_t>(copies_.size()); }
  // Starts anew in a host copy, whose last upload must be done.
  void begin(int32_t copy) {
    copy_ = &copies_.at(static_cast<size_t>(copy));
    CHECK(copy_->sent.count == 0 || ops_->done(copy_->sent));
    size_ = 0;
  }
  // Where `values` will be once uploaded.
  const int32_t* add(std::span<const int32_t> values) {
    const int64_t at = size_;
    size_ += padded(static_cast<int64_t>(values.size()));
    CHECK_LE(size_, capacity_);
    if (!values.empty()) std::memcpy(copy_->host + at, values.data(), values.size_bytes());
    return device_ + at;
  }
  void upload() {
    if (size_ == 0) return;
    ops_->upload_later(device_, copy_->host, size_ * int64_t{sizeof(int32_t)});
  }
  void sent(kernels::Mark mark) { copy_->sent = mark; }

 private:
  struct Copy {
    int32_t* host = nullptr;
    kernels::Mark sent;
  };
  kernels::Ops* ops_ = nullptr;
  int32_t* device_ = nullptr;
  int64_t capacity_ = 0;
  int64_t size_ = 0;
  std::vector<Copy> copies_;
  Copy* copy_ = nullptr;
};

}  // namespace mimo::node
