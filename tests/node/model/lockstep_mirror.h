#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "base/result.h"
#include "kernels/ops.h"

namespace mimo::node::model_test {

// The second backend's memory beside the first's, which is the host's: where each of the first's
// allocations stands in the second's, and copies between both. Activations are floats in the
// first's memory and of the second's dtype in its own; all else is the same bytes.
class LockstepMirror {
 public:
  explicit LockstepMirror(kernels::Ops& second) : second_(second) {}

  Result<void> add(void* first, int64_t bytes, kernels::Purpose purpose);
  Result<void> add_rows(const kernels::Rows& first, int64_t num_rows);

  // Where it stands in the second's memory; null for null.
  template <typename T>
  T* place(T* first) const {
    return const_cast<T*>(static_cast<const T*>(find(first)));
  }
  // The same, after its bytes were copied there: all to the end of its allocation, or `count`.
  template <typename T>
  T* copied(T* first) const {
    return copied(first, rest(first) / static_cast<int64_t>(sizeof(T)));
  }
  template <typename T>
  T* copied(T* first, int64_t count) const {
    if (first == nullptr) return nullptr;
    second_.upload(const_cast<void*>(find(first)), first, count * int64_t{sizeof(T)});
    return place(first);
  }
  // The same, after it was filled with bytes of 0xff: NaN, or -1.
  template <typename T>
  T* poisoned(T* first, int64_t count) const {
    fill(first, count * int64_t{sizeof(T)});
    return place(first);
  }
  // Activations: CHECKs that the second's dtype holds them.
  void* activations(const void* first, int64_t count) const;
  void* poisoned_activations(const void* first, int64_t count) const;
  std::vector<float> read_activations(const void* first, int64_t count) const;
  template <typename T>
  std::vector<T> read(const T* first, int64_t count) const {
    std::vector<T> out(static_cast<size_t>(count));
    second_.download(out.data(), find(first), count * int64_t{sizeof(T)});
    return out;
  }

  // Rows with the FP8 copy that the definition gives of them, where the second keeps one.
  kernels::Rows rows(const kernels::Rows& first, int64_t num_rows) const;
  kernels::Rows poisoned_rows(const kernels::Rows& first, int64_t num_rows) const;
  // Whether the second's FP8 copy is the definition's of its own `values`; true without one.
  bool fp8_copy_is_its_own(const kernels::Rows& first, const std::vector<float>& values) const;

 private:
  struct Region {
    int64_t bytes = 0;
    uint8_t* second = nullptr;
  };
  const void* find(const void* first) const;
  int64_t rest(const void* first) const;
  void fill(const void* first, int64_t bytes) const;
  // Activations of the second's dtype are half as far from a region's begin.
  uint8_t* activation_place(const void* first) const;
  int64_t activation_bytes() const { return dtype_bytes(second_.activation_dtype()); }
  std::map<const uint8_t*, Region>::const_iterator region(const void* first) const;

  kernels::Ops& second_;
  std::map<const uint8_t*, Region> regions_;  // by where they begin
  std::map<const void*, kernels::Rows> rows_;
};

}  // namespace mimo::node::model_test
