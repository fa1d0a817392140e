#include "kvcache/kv_index.h"

#include <gtest/gtest.h>

namespace mimo::kvcache {
namespace {

constexpr KvKind kFull = KvKind::kFull;
constexpr KvKind kWindow = KvKind::kWindow;
constexpr SlotId kA{0}, kB{1};

KvSpec spec_of(KvKind kind, int32_t window) {
  return {.kind = kind,
          .num_layers = 2,
          .kv_heads = 1,
          .k_dim = 8,
          .v_dim = 4,
          .page_tokens = 16,
          .window = window};
}

std::unique_ptr<KvIndex> make_index(int32_t full_pages, int32_t window_pages, int32_t window = 32) {
  return KvIndex::create(
             {.num_slots = 2,
              .pools = {{spec_of(kFull, 0), full_pages}, {spec_of(kWindow, window), window_pages}}})
      .value();
}

TEST(KvIndex, ReserveGrantsPagesOfBothGroupsOnlyWhenAPageIsFull) {
  auto index = make_index(8, 8);

  const auto first = index->reserve(kA, 17);
  ASSERT_TRUE(first);
  EXPECT_EQ((*first)[0].size(), 2u);
  EXPECT_EQ((*first)[1].size(), 2u);
  for (int32_t tokens = 18; tokens <= 32; ++tokens) {
    const auto more = index->reserve(kA, tokens);
    ASSERT_TRUE(more);
    EXPECT_TRUE((*more)[0].empty() && (*more)[1].empty());
  }
  EXPECT_EQ((*index->reserve(kA, 33))[0].size(), 1u);
  index->check_sums();
}

TEST(KvIndex, ReserveIsAllOrNothingOverBothGroups) {
  auto index = make_index(8, 2);
  ASSERT_TRUE(index->reserve(kA, 16));

  EXPECT_FALSE(index->reserve(kA, 48));

  EXPECT_EQ(index->num_free(kFull), 7);
  EXPECT_EQ(index->num_free(kWindow), 1);
  EXPECT_EQ(index->page_table(kA, kFull).pages.size(), 1u);
}

TEST(KvIndex, SlideKeepsExactlyWhatLaterQueriesRead) {
  for (const int32_t window : {1, 2, 16, 17, 31, 32, 40}) {
    auto index = make_index(64, 64, window);
    for (int32_t position = 0; position < 200; ++position) {
      index->slide(kA, position);
      ASSERT_TRUE(index->reserve(kA, position + 1));

      const PageTable table = index->page_table(kA, kWindow);
      const int32_t oldest = std::max(0, position - window + 1);
      ASSERT_EQ(table.first_page, oldest / 16) << "window " << window << " position " << position;
      ASSERT_EQ(table.first_page + static_cast<int32_t>(table.pages.size()), position / 16 + 1);
      ASSERT_EQ(static_cast<int32_t>(table.pages.size()),
                spec_of(kWindow, window).pages_held(position) + (position % 16 == 0 ? 1 : 0));
      ASSERT_LE(static_cast<int32_t>(table.pages.size()),
                spec_of(kWindow, window).pages_max(position + 1));
      index->check_sums();
    }
    EXPECT_EQ(index->page_table(kA, kFull).pages.size(), 13u);
  }
}

TEST(KvIndex, ReleaseBringsEverythingBack) {
  auto index = make_index(8, 8);
  ASSERT_TRUE(index->reserve(kA, 64));
  ASSERT_TRUE(index->reserve(kB, 16));
  index->slide(kA, 64);

  index->release(kA);

  EXPECT_EQ(index->num_free(kFull), 7);
  EXPECT_EQ(index->num_free(kWindow), 7);
  EXPECT_EQ(index->page_table(kA, kWindow).first_page, 0);
  EXPECT_TRUE(index->page_table(kA, kWindow).pages.empty());
  index->check_sums();
}

TEST(KvIndex, AModelWithoutWindowLayersNeverSlides) {
  auto index = KvIndex::create({.num_slots = 1, .pools = {{spec_of(kFull, 0), 4}}}).value();
  ASSERT_TRUE(index->reserve(kA, 64));

  EXPECT_EQ(index->slide(kA, 64), 0);
  EXPECT_EQ(index->num_pages(kWindow), 0);
  EXPECT_FALSE(index->reserve(kA, 65));
}

}  // namespace
}  // namespace mimo::kvcache
