#include "kvcache/kv_index.h"

#include <algorithm>

#include "base/check.h"

namespace mimo::kvcache {

Result<std::unique_ptr<KvIndex>> KvIndex::create(const KvStore::Options& options) {
  TRY(KvStore::validate(options));
  return std::unique_ptr<KvIndex>(new KvIndex(options));
}

KvIndex::KvIndex(const KvStore::Options& options) {
  for (const KvStore::Pool& pool : options.pools) {
    groups_[static_cast<size_t>(pool.spec.kind)].emplace(pool, options.num_slots);
  }
}

std::optional<KvIndex::Granted> KvIndex::reserve(SlotId slot, int32_t num_tokens) {
  std::array<int32_t, kNumKvKinds> num_new{};
  for (size_t kind = 0; kind < groups_.size(); ++kind) {
    if (!groups_[kind]) continue;
    const Group& g = *groups_[kind];
    const Table& table = g.tables[slot.value];
    num_new[kind] = std::max(0, g.spec.pages_for(num_tokens) - table.end_page());
    if (num_new[kind] > g.pool.num_free()) return std::nullopt;
  }
  Granted granted;
  for (size_t kind = 0; kind < groups_.size(); ++kind) {
    if (num_new[kind] == 0) continue;
    Group& g = *groups_[kind];
    auto& pages = g.tables[slot.value].pages;
    CHECK(g.pool.take(num_new[kind], pages));
    granted[kind] = std::span<const PageId>(pages).last(num_new[kind]);
  }
  return granted;
}

int32_t KvIndex::slide(SlotId slot, int32_t position) {
  auto& window = groups_[static_cast<size_t>(KvKind::kWindow)];
  if (!window) return 0;
  Table& table = window->tables[slot.value];
  const int32_t live = std::min(window->spec.first_live_page(position), table.end_page());
  const int32_t num_dead = live - table.first_page;
  if (num_dead <= 0) return 0;
  window->pool.give_back(std::span<const PageId>(table.pages).first(num_dead));
  table.pages.erase(table.pages.begin(), table.pages.begin() + num_dead);
  table.first_page = live;
  return num_dead;
}

void KvIndex::release(SlotId slot) {
  for (auto& group : groups_) {
    if (!group) continue;
    Table& table = group->tables[slot.value];
    group->pool.give_back(table.pages);
    table.pages.clear();
    table.first_page = 0;
  }
}

PageTable KvIndex::page_table(SlotId slot, KvKind kind) const {
  const auto& group = groups_[static_cast<size_t>(kind)];
  if (!group) return {};
  const Table& table = group->tables[slot.value];
  return {table.first_page, table.pages};
}

int32_t KvIndex::num_free(KvKind kind) const {
  const auto& group = groups_[static_cast<size_t>(kind)];
  return group ? group->pool.num_free() : 0;
}

int32_t KvIndex::num_pages(KvKind kind) const {
  const auto& group = groups_[static_cast<size_t>(kind)];
  return group ? group->pool.num_pages() : 0;
}

void KvIndex::check_sums() const {
  for (const auto& group : groups_) {
    if (!group) continue;
    int64_t held = 0;
    for (const Table& table : group->tables) held += static_cast<int64_t>(table.pages.size());
    CHECK_EQ(held + group->pool.num_free(), int64_t{group->pool.num_pages()});
  }
}

}  // namespace mimo::kvcache
