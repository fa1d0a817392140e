#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "base/units.h"
#include "kvcache/kv_store.h"
#include "kvcache/page_pool.h"

namespace mimo::kvcache {

// The leader's side: lends pages of both layer groups to the slots, as one. Tells the caller what
// it lent and took back, so that a plan can say it to every rank's KvStore.
//
// Thread:    one.
// Lifetime:  a span of reserve() is good until the slot's next reserve(), slide() or release().
// Invariant: free pages + the slots' pages = pool, for each group (check_sums()).
class KvIndex {
 public:
  // Pages appended to the slot's table, by KvKind; mostly none.
  using Granted = std::array<std::span<const PageId>, kNumKvKinds>;

  static Result<std::unique_ptr<KvIndex>> create(const KvStore::Options& options);

  // Pages for the slot's tokens up to num_tokens; fewer than it has is nothing to do. Both groups,
  // or nothing (empty optional) and nothing changed. Allocates only when a page is granted.
  std::optional<Granted> reserve(SlotId slot, int32_t num_tokens);

  // Gives back the window pages that no query at `position` or later reads; how many these were.
  int32_t slide(SlotId slot, int32_t position);

  // All pages of the slot, which is as good as new.
  void release(SlotId slot);

  PageTable page_table(SlotId slot, KvKind kind) const;
  // 0 for a group without a pool.
  int32_t num_free(KvKind kind) const;
  int32_t num_pages(KvKind kind) const;

  // CHECKs the invariant.
  void check_sums() const;

 private:
  struct Table {
    int32_t first_page = 0;
    std::vector<PageId> pages;
    int32_t end_page() const { return first_page + static_cast<int32_t>(pages.size()); }
  };
  struct Group {
    explicit Group(const KvStore::Pool& p, int32_t num_slots)
        : spec(p.spec), pool(p.num_pages), tables(num_slots) {}
    KvSpec spec;
    PagePool pool;
    std::vector<Table> tables;  // [num_slots]
  };

  explicit KvIndex(const KvStore::Options& options);

  std::array<std::optional<Group>, kNumKvKinds> groups_;
};

}  // namespace mimo::kvcache
