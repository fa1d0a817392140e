#include "kvcache/page_pool.h"

#include "base/check.h"

namespace mimo::kvcache {

PagePool::PagePool(int32_t num_pages) : is_free_(num_pages, true) {
  free_.reserve(num_pages);
  for (int32_t page = num_pages - 1; page >= 0; --page) free_.push_back(PageId{page});
}

bool PagePool::take(int32_t count, std::vector<PageId>& out) {
  CHECK_GE(count, 0);
  if (count > num_free()) return false;
  for (int32_t i = 0; i < count; ++i) {
    const PageId page = free_.back();
    free_.pop_back();
    is_free_[page.value] = false;
    out.push_back(page);
  }
  return true;
}

void PagePool::give_back(std::span<const PageId> pages) {
  for (const PageId page : pages) {
    CHECK(page.value >= 0 && page.value < num_pages());
    CHECK(!is_free_[page.value]);
    is_free_[page.value] = true;
    free_.push_back(page);
  }
}

}  // namespace mimo::kvcache
