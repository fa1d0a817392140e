#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/units.h"
#include "kvcache/kv_spec.h"

namespace mimo::kvcache {

enum class KvPlane : uint8_t { kK = 0, kV = 1 };
enum class PageState : uint8_t { kFree = 0, kActive = 1 };
constexpr int32_t kNumKvPlanes = 2;
constexpr int32_t kNumPageStates = 2;
// "k", "v"; "free", "active": labels of metrics.
const char* kv_plane_name(KvPlane plane);
const char* page_state_name(PageState state);

// What one step does to the pages, in this order: releases (a slot and all its pages go),
// admissions (a slot without pages, whose tables begin where a sequence that has read `num_cached`
// tokens still looks: KvSpec::first_live_page), returns (a slot's first pages of a window group
// go), grants (pages appended to a slot's table). Borrowed for one call.
struct KvChanges {
  struct Admission {
    // Most sequences begin with nothing read.
    Admission(SlotId s, int32_t cached = 0) : slot(s), num_cached(cached) {}

    SlotId slot;
    int32_t num_cached = 0;
  };
  struct Return {
    SlotId slot;
    KvKind kind = KvKind::kWindow;
    int32_t num_pages = 0;
  };
  struct Grant {
    SlotId slot;
    KvKind kind = KvKind::kFull;
    std::span<const PageId> pages;
  };
  std::vector<SlotId> releases = {};
  std::vector<Admission> admissions = {};
  std::vector<Return> returns = {};
  std::vector<Grant> grants = {};
};

// Where one slot's tokens of one group lie: token j is in pages[j / page_tokens - first_page].
struct PageTable {
  int32_t first_page = 0;
  std::span<const PageId> pages;
};

// One rank's view of the page pools: whose each page is and where its bytes lie. Believes no plan:
// each change is checked against the page states. Holds no bytes, only says offsets into pools that
// somebody else allocated with pool_bytes().
//
// Thread:    one.
// Lifetime:  a span of page_table() is good until the next apply().
// Invariant: free pages + the slots' pages = pool, for each group (checked after every apply()).
class KvStore {
 public:
  struct Pool {
    KvSpec spec;
    int32_t num_pages = 0;
  };
  struct Options {
    int32_t num_slots = 0;
    std::vector<Pool> pools = {};  // at most one a kind; a kind without layers here has none
  };

  static Result<void> validate(const Options& options);
  static Result<std::unique_ptr<KvStore>> create(const Options& options);

  // All of it, or an error and nothing changed. kInternal names slot, group, page and states.
  Result<void> apply(const KvChanges& changes);

  bool is_active(SlotId slot) const;
  // Empty for a slot that is not active and for a group without a pool.
  PageTable page_table(SlotId slot, KvKind kind) const;

  // Null for a group without a pool.
  const Pool* pool(KvKind kind) const;
  // Bytes of all layers' pages; 0 for a group without a pool.
  int64_t pool_bytes(KvKind kind, KvPlane plane) const;
  // The states' bytes sum to pool_bytes().
  int64_t bytes(KvKind kind, KvPlane plane, PageState state) const;
  // Of the page's first byte in the group's K or V pool; layer counts within the group.
  int64_t k_offset(KvKind kind, int32_t layer, PageId page) const;
  int64_t v_offset(KvKind kind, int32_t layer, PageId page) const;

 private:
  struct Table {
    int32_t first_page = 0;
    std::vector<PageId> pages;
  };
  struct Group {
    Pool pool;
    bool present = false;
    int32_t num_free = 0;
    int32_t num_active = 0;
    std::vector<int32_t> owner;       // [num_pages] slot, or -1: free
    std::vector<int64_t> freed_in;    // [num_pages] the last apply() that frees the page
    std::vector<int64_t> granted_in;  // [num_pages] the last apply() that grants the page
    std::vector<Table> tables;        // [num_slots]
    std::vector<int64_t> num_freed;   // [num_slots] pages returned in the apply() being checked
  };

  explicit KvStore(const Options& options);
  const Group& group(KvKind kind) const { return groups_[static_cast<size_t>(kind)]; }
  Group& group(KvKind kind) { return groups_[static_cast<size_t>(kind)]; }

  // Checks in the changes' order, noting in freed_in, granted_in and the slots' marks what the
  // changes before would have done.
  Result<void> check(const KvChanges& changes);
  Result<void> check_slot(SlotId slot, const char* what) const;
  Result<void> check_release(SlotId slot);
  Result<void> check_admission(const KvChanges::Admission& admission);
  Result<void> check_active(SlotId slot, const char* what) const;
  Result<void> check_return(const KvChanges::Return& change);
  Result<void> check_grant(const KvChanges::Grant& change);
  bool will_be_active(SlotId slot) const;

  void release(SlotId slot);
  void admit(const KvChanges::Admission& admission);
  void give_back(const KvChanges::Return& change);
  void grant(const KvChanges::Grant& change);
  void check_sums() const;

  const int32_t num_slots_;
  std::array<Group, kNumKvKinds> groups_;
  std::vector<bool> active_;          // [num_slots]
  std::vector<int64_t> released_in_;  // [num_slots] the last apply() that releases the slot
  std::vector<int64_t> admitted_in_;  // [num_slots] the last apply() that admits the slot
  int64_t applying_ = 0;              // counts calls of apply()
};

}  // namespace mimo::kvcache
