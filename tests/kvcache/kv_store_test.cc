#include "kvcache/kv_store.h"

#include <gtest/gtest.h>

namespace mimo::kvcache {
namespace {

using Ids = std::vector<PageId>;
constexpr KvKind kFull = KvKind::kFull;
constexpr KvKind kWindow = KvKind::kWindow;

KvSpec spec_of(KvKind kind) {
  return {.kind = kind,
          .num_layers = 3,
          .kv_heads = 2,
          .k_dim = 24,
          .v_dim = 16,
          .k_dtype = DType::kF32,
          .v_dtype = DType::kBf16,
          .page_tokens = 16,
          .window = kind == kFull ? 0 : 32};
}

std::unique_ptr<KvStore> make_store() {
  return KvStore::create({.num_slots = 2, .pools = {{spec_of(kFull), 8}, {spec_of(kWindow), 4}}})
      .value();
}

Ids ids(std::initializer_list<int32_t> values) {
  Ids all;
  for (const int32_t value : values) all.push_back(PageId{value});
  return all;
}

Ids table(const KvStore& store, int32_t slot, KvKind kind) {
  const auto pages = store.page_table(SlotId{slot}, kind).pages;
  return {pages.begin(), pages.end()};
}

// Slot 0 holds full pages 1, 2 and window pages 0, 1, 2.
std::unique_ptr<KvStore> make_used_store() {
  auto store = make_store();
  const Ids full = ids({1, 2}), window = ids({0, 1, 2});
  KvChanges changes;
  changes.admissions = {SlotId{0}};
  changes.grants = {{SlotId{0}, kFull, full}, {SlotId{0}, kWindow, window}};
  store->apply(changes).value();
  return store;
}

// `changes` is refused with a sentence that holds `part`, and nothing moved.
void expect_refused(const KvChanges& changes, const std::string& part) {
  auto store = make_used_store();

  const auto applied = store->apply(changes);

  ASSERT_FALSE(applied.ok()) << part;
  EXPECT_EQ(applied.error().code, Code::kInternal);
  EXPECT_NE(applied.error().message.find(part), std::string::npos) << applied.error().message;
  EXPECT_TRUE(store->is_active(SlotId{0}));
  EXPECT_FALSE(store->is_active(SlotId{1}));
  EXPECT_EQ(table(*store, 0, kFull), ids({1, 2}));
  EXPECT_EQ(table(*store, 0, kWindow), ids({0, 1, 2}));
  EXPECT_EQ(store->bytes(kWindow, KvPlane::kK, PageState::kFree),
            spec_of(kWindow).k_bytes_per_page());
  const Ids rest = ids({0, 3, 4, 5, 6, 7});
  KvChanges good;
  good.grants = {{SlotId{0}, kFull, rest}};
  EXPECT_TRUE(store->apply(good).ok());
}

TEST(KvStore, GrantsGoToTheEndOfTheTable) {
  auto store = make_used_store();
  const Ids more = ids({5, 3});
  KvChanges changes;
  changes.grants = {{SlotId{0}, kFull, more}};

  ASSERT_TRUE(store->apply(changes).ok());

  EXPECT_EQ(table(*store, 0, kFull), ids({1, 2, 5, 3}));
  EXPECT_EQ(store->page_table(SlotId{0}, kFull).first_page, 0);
}

TEST(KvStore, ReturnedPagesMoveTheTablesFirstPageAndCanBeGrantedInTheSameStep) {
  auto store = make_used_store();
  const Ids again = ids({1, 3});
  KvChanges changes;
  changes.admissions = {SlotId{1}};
  changes.returns = {{SlotId{0}, kWindow, 2}};
  changes.grants = {{SlotId{1}, kWindow, again}};

  ASSERT_TRUE(store->apply(changes).ok());

  EXPECT_EQ(store->page_table(SlotId{0}, kWindow).first_page, 2);
  EXPECT_EQ(table(*store, 0, kWindow), ids({2}));
  EXPECT_EQ(table(*store, 1, kWindow), ids({1, 3}));
}

TEST(KvStore, AReleasedSlotAndItsPagesCanBeTakenInTheSameStep) {
  auto store = make_used_store();
  const Ids full = ids({2});
  KvChanges changes;
  changes.releases = {SlotId{0}};
  changes.admissions = {SlotId{0}};
  changes.grants = {{SlotId{0}, kFull, full}};

  ASSERT_TRUE(store->apply(changes).ok());

  EXPECT_TRUE(store->is_active(SlotId{0}));
  EXPECT_EQ(table(*store, 0, kFull), ids({2}));
  EXPECT_TRUE(table(*store, 0, kWindow).empty());
}

TEST(KvStore, BytesOfTheStatesSumToThePool) {
  auto store = make_used_store();
  const KvSpec spec = spec_of(kWindow);

  EXPECT_EQ(store->pool_bytes(kWindow, KvPlane::kK), 4 * spec.k_bytes_per_page());
  EXPECT_EQ(store->pool_bytes(kWindow, KvPlane::kV), 4 * spec.v_bytes_per_page());
  EXPECT_EQ(store->bytes(kWindow, KvPlane::kV, PageState::kActive), 3 * spec.v_bytes_per_page());
  EXPECT_EQ(store->bytes(kWindow, KvPlane::kV, PageState::kFree), spec.v_bytes_per_page());
  EXPECT_EQ(store->bytes(kFull, KvPlane::kK, PageState::kFree),
            6 * spec_of(kFull).k_bytes_per_page());
}

TEST(KvStore, OffsetsTileThePool) {
  auto store = make_store();
  int64_t k_want = 0, v_want = 0;
  for (int32_t layer = 0; layer < 3; ++layer) {
    for (int32_t page = 0; page < 8; ++page) {
      EXPECT_EQ(store->k_offset(kFull, layer, PageId{page}), k_want);
      EXPECT_EQ(store->v_offset(kFull, layer, PageId{page}), v_want);
      k_want += spec_of(kFull).k_page_bytes();
      v_want += spec_of(kFull).v_page_bytes();
    }
  }
  EXPECT_EQ(k_want, store->pool_bytes(kFull, KvPlane::kK));
  EXPECT_EQ(v_want, store->pool_bytes(kFull, KvPlane::kV));
}

TEST(KvStore, RefusesBadSlots) {
  KvChanges changes;
  changes.releases = {SlotId{1}};
  expect_refused(changes, "release of slot 1, which is free");
  changes.releases = {SlotId{0}, SlotId{0}};
  expect_refused(changes, "release of slot 0 twice");
  changes.releases = {SlotId{2}};
  expect_refused(changes, "release for slot 2, expected 0 to 1");
  changes = {};
  changes.admissions = {SlotId{0}};
  expect_refused(changes, "admission to slot 0, which is active");
  changes.admissions = {SlotId{1}, SlotId{1}};
  expect_refused(changes, "admission to slot 1, which is active");
  changes.admissions = {SlotId{-1}};
  expect_refused(changes, "admission for slot -1");
}

TEST(KvStore, RefusesBadReturns) {
  KvChanges changes;
  changes.returns = {{SlotId{0}, kWindow, 4}};
  expect_refused(changes, "return of 4 window pages of slot 0, which holds 3");
  changes.returns = {{SlotId{0}, kWindow, 2}, {SlotId{0}, kWindow, 2}};
  expect_refused(changes, "return of 2 window pages of slot 0, which holds 1");
  changes.returns = {{SlotId{0}, kWindow, 0}};
  expect_refused(changes, "return of 0 window pages");
  changes.returns = {{SlotId{0}, kFull, 1}};
  expect_refused(changes, "never leave a window");
  changes.returns = {{SlotId{1}, kWindow, 1}};
  expect_refused(changes, "return for slot 1, which is free");
  changes.returns = {{SlotId{99}, kWindow, 1}};
  expect_refused(changes, "return for slot 99, expected 0 to 1");
  changes.returns = {{SlotId{0}, kWindow, 1}};
  changes.releases = {SlotId{0}};
  expect_refused(changes, "return for slot 0, which is free");
}

TEST(KvStore, RefusesBadGrants) {
  const Ids held = ids({2}), far = ids({8}), negative = ids({-1}), twice = ids({4, 4}),
            fresh = ids({3});
  KvChanges changes;
  changes.grants = {{SlotId{0}, kFull, held}};
  expect_refused(changes, "full page 2 to slot 0, which is active, held by slot 0");
  changes.grants = {{SlotId{0}, kFull, far}};
  expect_refused(changes, "full page 8 to slot 0, expected 0 to 7");
  changes.grants = {{SlotId{0}, kFull, negative}};
  expect_refused(changes, "full page -1 to slot 0, expected 0 to 7");
  changes.grants = {{SlotId{0}, kFull, twice}};
  expect_refused(changes, "full page 4 to slot 0, which is granted twice");
  changes.grants = {{SlotId{0}, kFull, fresh}, {SlotId{0}, kFull, fresh}};
  expect_refused(changes, "full page 3 to slot 0, which is granted twice");
  changes.grants = {{SlotId{1}, kFull, fresh}};
  expect_refused(changes, "grant for slot 1, which is free");
}

TEST(KvStore, AGroupWithoutLayersHasNoPool) {
  auto store = KvStore::create({.num_slots = 1, .pools = {{spec_of(kFull), 2}}}).value();
  const Ids page = ids({0});
  KvChanges changes;
  changes.admissions = {SlotId{0}};
  changes.grants = {{SlotId{0}, kWindow, page}};

  EXPECT_EQ(store->apply(changes).error().message, "grant of window pages, which have no pool");
  EXPECT_EQ(store->pool(kWindow), nullptr);
  EXPECT_EQ(store->pool_bytes(kWindow, KvPlane::kK), 0);
}

TEST(KvStore, ASlotWithCachedTokensBeginsAtTheFirstPageThatIsStillSeen) {
  auto store = make_store();
  const Ids full = ids({3, 4, 5, 6, 7}), window = ids({0, 2});
  KvChanges changes;
  changes.admissions = {{SlotId{1}, 70}};
  changes.grants = {{SlotId{1}, kFull, full}, {SlotId{1}, kWindow, window}};

  store->apply(changes).value();

  EXPECT_EQ(store->page_table(SlotId{1}, kFull).first_page, 0);
  // Position 70 sees positions 39 to 70: pages 2 to 4.
  EXPECT_EQ(store->page_table(SlotId{1}, kWindow).first_page, 2);
  changes = {};
  changes.releases = {SlotId{1}};
  changes.admissions = {SlotId{1}};
  store->apply(changes).value();
  EXPECT_EQ(store->page_table(SlotId{1}, kWindow).first_page, 0);
  changes = {};
  changes.admissions = {{SlotId{0}, -1}};
  EXPECT_EQ(store->apply(changes).error().message,
            "admission to slot 0 with num_cached -1, expected at least 0");
}

TEST(KvStore, RefusesBadOptions) {
  const auto code = [](const KvStore::Options& options) {
    return KvStore::create(options).error().code;
  };

  EXPECT_EQ(code({.num_slots = 0, .pools = {}}), Code::kInvalidArgument);
  EXPECT_EQ(code({.num_slots = 1, .pools = {{spec_of(kFull), 0}}}), Code::kInvalidArgument);
  EXPECT_EQ(code({.num_slots = 1, .pools = {{spec_of(kFull), 1}, {spec_of(kFull), 1}}}),
            Code::kInvalidArgument);
}

}  // namespace
}  // namespace mimo::kvcache
