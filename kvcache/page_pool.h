#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/units.h"

namespace mimo::kvcache {

// The leader's list of free pages of one layer group. Knows ids only.
//
// Thread:    one.
// Invariant: num_free() + pages given out = num_pages().
class PagePool {
 public:
  explicit PagePool(int32_t num_pages);

  // Appends `count` pages to `out`; false, and nothing changed, when fewer are free.
  bool take(int32_t count, std::vector<PageId>& out);
  // CHECKs that each of them was given out.
  void give_back(std::span<const PageId> pages);

  int32_t num_free() const { return static_cast<int32_t>(free_.size()); }
  int32_t num_pages() const { return static_cast<int32_t>(is_free_.size()); }

 private:
  std::vector<PageId> free_;   // a stack: the warmest page goes out next
  std::vector<bool> is_free_;  // [num_pages]
};

}  // namespace mimo::kvcache
