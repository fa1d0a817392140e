#include "kvcache/kv_store.h"

#include "base/check.h"

namespace mimo::kvcache {
namespace {

constexpr int32_t kFree = -1;
constexpr KvKind kKinds[] = {KvKind::kFull, KvKind::kWindow};
// 2^31 pages of the largest bytes_per_page() stay far below 2^63.
constexpr int32_t kSlotsMax = 1 << 20;

std::string text(SlotId slot) { return "slot " + std::to_string(slot.value); }

std::string text(KvKind kind, PageId page) {
  return std::string(kv_kind_name(kind)) + " page " + std::to_string(page.value);
}

}  // namespace

const char* kv_plane_name(KvPlane plane) { return plane == KvPlane::kK ? "k" : "v"; }

const char* page_state_name(PageState state) {
  return state == PageState::kFree ? "free" : "active";
}

Result<std::unique_ptr<KvStore>> KvStore::create(const Options& options) {
  TRY(validate(options));
  return std::unique_ptr<KvStore>(new KvStore(options));
}

Result<void> KvStore::validate(const Options& options) {
  if (options.num_slots < 1 || options.num_slots > kSlotsMax)
    return invalid_argument("num_slots is " + std::to_string(options.num_slots) +
                            ", expected 1 to " + std::to_string(kSlotsMax));
  std::array<bool, kNumKvKinds> seen{};
  for (const Pool& pool : options.pools) {
    TRY(pool.spec.validate());
    const std::string name = kv_kind_name(pool.spec.kind);
    if (pool.num_pages < 1)
      return invalid_argument(name + " num_pages is " + std::to_string(pool.num_pages) +
                              ", expected at least 1");
    bool& taken = seen[static_cast<size_t>(pool.spec.kind)];
    if (taken) return invalid_argument("two pools of kind " + name + ", expected one");
    taken = true;
  }
  return {};
}

KvStore::KvStore(const Options& options)
    : num_slots_(options.num_slots),
      active_(options.num_slots, false),
      released_in_(options.num_slots, 0),
      admitted_in_(options.num_slots, 0) {
  for (const Pool& pool : options.pools) {
    Group& g = group(pool.spec.kind);
    g.pool = pool;
    g.present = true;
    g.num_free = pool.num_pages;
    g.owner.assign(pool.num_pages, kFree);
    g.freed_in.assign(pool.num_pages, 0);
    g.granted_in.assign(pool.num_pages, 0);
    g.tables.resize(options.num_slots);
    g.num_freed.assign(options.num_slots, 0);
  }
}

Result<void> KvStore::apply(const KvChanges& changes) {
  TRY(check(changes));
  for (const SlotId slot : changes.releases) release(slot);
  for (const auto& admission : changes.admissions) admit(admission);
  for (const auto& change : changes.returns) give_back(change);
  for (const auto& change : changes.grants) grant(change);
  check_sums();
  return {};
}

Result<void> KvStore::check(const KvChanges& changes) {
  ++applying_;
  for (const auto& change : changes.returns) {
    TRY(check_slot(change.slot, "return"));
    Group& g = group(change.kind);
    if (g.present) g.num_freed[change.slot.value] = 0;
  }
  for (const SlotId slot : changes.releases) TRY(check_release(slot));
  for (const auto& admission : changes.admissions) TRY(check_admission(admission));
  for (const auto& change : changes.returns) TRY(check_return(change));
  for (const auto& change : changes.grants) TRY(check_grant(change));
  return {};
}

Result<void> KvStore::check_slot(SlotId slot, const char* what) const {
  if (slot.value >= 0 && slot.value < num_slots_) return {};
  return internal_error(std::string(what) + " for " + text(slot) + ", expected 0 to " +
                        std::to_string(num_slots_ - 1));
}

Result<void> KvStore::check_release(SlotId slot) {
  TRY(check_slot(slot, "release"));
  if (!active_[slot.value]) return internal_error("release of " + text(slot) + ", which is free");
  if (released_in_[slot.value] == applying_)
    return internal_error("release of " + text(slot) + " twice in one step");
  released_in_[slot.value] = applying_;
  for (Group& g : groups_) {
    if (!g.present) continue;
    for (const PageId page : g.tables[slot.value].pages) g.freed_in[page.value] = applying_;
  }
  return {};
}

bool KvStore::will_be_active(SlotId slot) const {
  return admitted_in_[slot.value] == applying_ ||
         (active_[slot.value] && released_in_[slot.value] != applying_);
}

Result<void> KvStore::check_admission(const KvChanges::Admission& admission) {
  const SlotId slot = admission.slot;
  TRY(check_slot(slot, "admission"));
  if (admission.num_cached < 0)
    return internal_error("admission to " + text(slot) + " with num_cached " +
                          std::to_string(admission.num_cached) + ", expected at least 0");
  if (will_be_active(slot))
    return internal_error("admission to " + text(slot) + ", which is active");
  admitted_in_[slot.value] = applying_;
  return {};
}

Result<void> KvStore::check_active(SlotId slot, const char* what) const {
  TRY(check_slot(slot, what));
  if (will_be_active(slot)) return {};
  return internal_error(std::string(what) + " for " + text(slot) + ", which is free");
}

Result<void> KvStore::check_return(const KvChanges::Return& change) {
  TRY(check_active(change.slot, "return"));
  Group& g = group(change.kind);
  const std::string name = kv_kind_name(change.kind);
  if (!g.present) return internal_error("return of " + name + " pages, which have no pool");
  if (g.pool.spec.window == 0)
    return internal_error("return of " + name + " pages of " + text(change.slot) +
                          ", which never leave a window");
  const auto& pages = g.tables[change.slot.value].pages;
  int64_t& freed = g.num_freed[change.slot.value];
  const bool fresh = admitted_in_[change.slot.value] == applying_;
  const int64_t held = fresh ? 0 : static_cast<int64_t>(pages.size()) - freed;
  if (change.num_pages < 1 || change.num_pages > held)
    return internal_error("return of " + std::to_string(change.num_pages) + " " + name +
                          " pages of " + text(change.slot) + ", which holds " +
                          std::to_string(held));
  for (int32_t i = 0; i < change.num_pages; ++i) {
    g.freed_in[pages[static_cast<size_t>(freed + i)].value] = applying_;
  }
  freed += change.num_pages;
  return {};
}

Result<void> KvStore::check_grant(const KvChanges::Grant& change) {
  TRY(check_active(change.slot, "grant"));
  Group& g = group(change.kind);
  if (!g.present)
    return internal_error("grant of " + std::string(kv_kind_name(change.kind)) +
                          " pages, which have no pool");
  for (const PageId page : change.pages) {
    const std::string to = " to " + text(change.slot);
    if (page.value < 0 || page.value >= g.pool.num_pages)
      return internal_error("grant of " + text(change.kind, page) + to + ", expected 0 to " +
                            std::to_string(g.pool.num_pages - 1));
    if (g.granted_in[page.value] == applying_)
      return internal_error("grant of " + text(change.kind, page) + to +
                            ", which is granted twice in one step");
    if (g.owner[page.value] != kFree && g.freed_in[page.value] != applying_)
      return internal_error("grant of " + text(change.kind, page) + to +
                            ", which is active, held by slot " +
                            std::to_string(g.owner[page.value]));
    g.granted_in[page.value] = applying_;
  }
  return {};
}

void KvStore::release(SlotId slot) {
  for (Group& g : groups_) {
    if (!g.present) continue;
    Table& table = g.tables[slot.value];
    for (const PageId page : table.pages) g.owner[page.value] = kFree;
    g.num_free += static_cast<int32_t>(table.pages.size());
    g.num_active -= static_cast<int32_t>(table.pages.size());
    table.pages.clear();
    table.first_page = 0;
  }
  active_[slot.value] = false;
}

void KvStore::admit(const KvChanges::Admission& admission) {
  const auto slot = static_cast<size_t>(admission.slot.value);
  active_[slot] = true;
  for (Group& g : groups_) {
    if (g.present) g.tables[slot].first_page = g.pool.spec.first_live_page(admission.num_cached);
  }
}

void KvStore::give_back(const KvChanges::Return& change) {
  Group& g = group(change.kind);
  Table& table = g.tables[change.slot.value];
  const auto end = table.pages.begin() + change.num_pages;
  for (auto it = table.pages.begin(); it != end; ++it) g.owner[it->value] = kFree;
  table.pages.erase(table.pages.begin(), end);
  table.first_page += change.num_pages;
  g.num_free += change.num_pages;
  g.num_active -= change.num_pages;
}

void KvStore::grant(const KvChanges::Grant& change) {
  Group& g = group(change.kind);
  Table& table = g.tables[change.slot.value];
  for (const PageId page : change.pages) {
    CHECK_EQ(g.owner[page.value], kFree);
    g.owner[page.value] = change.slot.value;
    table.pages.push_back(page);
  }
  g.num_free -= static_cast<int32_t>(change.pages.size());
  g.num_active += static_cast<int32_t>(change.pages.size());
}

void KvStore::check_sums() const {
  for (const Group& g : groups_) {
    if (!g.present) continue;
    int64_t held = 0;
    for (const Table& table : g.tables) held += static_cast<int64_t>(table.pages.size());
    CHECK_EQ(held, int64_t{g.num_active});
  }
  for (const KvKind kind : kKinds) {
    for (const KvPlane plane : {KvPlane::kK, KvPlane::kV}) {
      CHECK_EQ(bytes(kind, plane, PageState::kFree) + bytes(kind, plane, PageState::kActive),
               pool_bytes(kind, plane));
    }
  }
}

bool KvStore::is_active(SlotId slot) const {
  return slot.value >= 0 && slot.value < num_slots_ && active_[slot.value];
}

PageTable KvStore::page_table(SlotId slot, KvKind kind) const {
  const Group& g = group(kind);
  if (!g.present || !is_active(slot)) return {};
  const Table& table = g.tables[slot.value];
  return {table.first_page, table.pages};
}

const KvStore::Pool* KvStore::pool(KvKind kind) const {
  return group(kind).present ? &group(kind).pool : nullptr;
}

int64_t KvStore::pool_bytes(KvKind kind, KvPlane plane) const {
  const Group& g = group(kind);
  if (!g.present) return 0;
  const KvSpec& spec = g.pool.spec;
  const int64_t page = plane == KvPlane::kK ? spec.k_bytes_per_page() : spec.v_bytes_per_page();
  return page * g.pool.num_pages;
}

int64_t KvStore::bytes(KvKind kind, KvPlane plane, PageState state) const {
  const Group& g = group(kind);
  if (!g.present) return 0;
  const KvSpec& spec = g.pool.spec;
  const int64_t page = plane == KvPlane::kK ? spec.k_bytes_per_page() : spec.v_bytes_per_page();
  return page * (state == PageState::kFree ? g.num_free : g.num_active);
}

int64_t KvStore::k_offset(KvKind kind, int32_t layer, PageId page) const {
  const Group& g = group(kind);
  CHECK(g.present && layer >= 0 && layer < g.pool.spec.num_layers);
  CHECK(page.value >= 0 && page.value < g.pool.num_pages);
  return (int64_t{layer} * g.pool.num_pages + page.value) * g.pool.spec.k_page_bytes();
}

int64_t KvStore::v_offset(KvKind kind, int32_t layer, PageId page) const {
  const Group& g = group(kind);
  CHECK(g.present && layer >= 0 && layer < g.pool.spec.num_layers);
  CHECK(page.value >= 0 && page.value < g.pool.num_pages);
  return (int64_t{layer} * g.pool.num_pages + page.value) * g.pool.spec.v_page_bytes();
}

}  // namespace mimo::kvcache
