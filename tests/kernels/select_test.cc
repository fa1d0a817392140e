#include "kernels/cpu/select.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tests/kernels/support.h"

namespace mimo::kernels::test {
namespace {

// Ids from the greatest logit down, ties to the lower id.
std::vector<int32_t> sorted_ids(const std::vector<float>& row) {
  std::vector<int32_t> ids(row.size());
  std::iota(ids.begin(), ids.end(), 0);
  std::stable_sort(ids.begin(), ids.end(), [&](int32_t a, int32_t b) { return row[a] > row[b]; });
  return ids;
}

// What both keep() and kept_ids() leave.
std::vector<int32_t> ids_inside(const std::vector<float>& row, Cut cut) {
  std::vector<float> weights(row.size(), 1.0f);
  keep(row, cut, weights.data());
  std::vector<int32_t> ids;
  for (size_t i = 0; i < row.size(); ++i) {
    if (weights[i] > 0) ids.push_back(static_cast<int32_t>(i));
  }
  std::vector<int32_t> listed;
  kept_ids(row, cut, listed);
  EXPECT_EQ(listed, ids);
  return ids;
}

// Normal values, few distinct values (ties), and one with masked entries.
std::vector<std::vector<float>> rows() {
  std::vector<std::vector<float>> out;
  for (const int32_t size : {1, 2, 17, 1000, 20000}) {
    out.push_back(random_floats(size, 1, CpuMode::kF32, 5.0f));
    out.push_back(out.back());
    for (float& x : out.back()) x = std::round(x / 4);
    out.push_back(out.back());
    for (size_t i = 1; i < out.back().size(); i += 3) {
      out.back()[i] = -std::numeric_limits<float>::infinity();
    }
  }
  return out;
}

TEST(Select, CutByCountKeepsTheGreatest) {
  for (const auto& row : rows()) {
    const auto ids = sorted_ids(row);
    for (const size_t count : {size_t{1}, size_t{2}, size_t{5}, row.size() / 2, row.size()}) {
      if (count == 0 || count > row.size()) continue;
      auto want = std::vector<int32_t>(ids.begin(), ids.begin() + static_cast<int64_t>(count));
      std::sort(want.begin(), want.end());
      EXPECT_EQ(ids_inside(row, cut_by_count(row, static_cast<int64_t>(count))), want);
    }
  }
}

TEST(Select, CutByMassIsTheSmallestSet) {
  for (const auto& row : rows()) {
    const auto ids = sorted_ids(row);
    std::vector<float> weights;
    for (const float x : row) weights.push_back(std::exp(x - row[ids[0]]));
    for (const double part : {1e-6, 0.3, 0.5, 0.95, 0.999}) {
      const double mass = part * sum(weights);
      const auto kept = ids_inside(row, cut_by_mass(row, weights.data(), mass));
      double total = 0;
      size_t count = 0;
      while (count < ids.size() && (count == 0 || total < mass)) total += weights[ids[count++]];
      auto want = std::vector<int32_t>(ids.begin(), ids.begin() + static_cast<int64_t>(count));
      std::sort(want.begin(), want.end());
      EXPECT_EQ(kept, want);
    }
  }
}

TEST(Select, BestRankAndIndexAgree) {
  for (const auto& row : rows()) {
    const auto ids = sorted_ids(row);
    const auto top = best(row, 20);
    ASSERT_EQ(top.size(), std::min<size_t>(20, row.size()));
    for (size_t i = 0; i < top.size(); ++i) {
      EXPECT_EQ(top[i].id, ids[i]);
      EXPECT_EQ(rank_of(row, top[i].id), static_cast<int32_t>(i) + 1);
    }
    EXPECT_EQ(index_of(row, row[ids[0]]), ids[0]);
    EXPECT_EQ(summarize(row).max, row[ids[0]]);
  }
}

TEST(Select, SummarySeesNanAndInfinityAnywhere) {
  for (const size_t at : {0, 15, 16, 33, 36}) {
    for (const float bad :
         {kNan, std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()}) {
      std::vector<float> row(37, 1.0f);
      EXPECT_TRUE(summarize(row).finite);
      row[at] = bad;
      EXPECT_FALSE(summarize(row).finite) << at;
    }
  }
}

TEST(Select, DrawCoversEachIdAtItsPart) {
  std::vector<float> weights(1000, 0.0f);
  weights[3] = 1;
  weights[255] = 2;
  weights[256] = 1;
  weights[999] = 4;
  EXPECT_EQ(draw(weights, 0.0), 3);
  EXPECT_EQ(draw(weights, 0.1249), 3);
  EXPECT_EQ(draw(weights, 0.125), 255);
  EXPECT_EQ(draw(weights, 0.3749), 255);
  EXPECT_EQ(draw(weights, 0.375), 256);
  EXPECT_EQ(draw(weights, 0.5), 999);
  EXPECT_EQ(draw(weights, std::nextafter(1.0, 0.0)), 999);
  weights[999] = 0;
  EXPECT_EQ(draw(weights, std::nextafter(1.0, 0.0)), 256);
}

TEST(Select, KeysOrderAsFloatsDo) {
  const std::vector<float> values{
      -std::numeric_limits<float>::infinity(), -3e38f, -1.0f, -1e-40f, 0.0f, 1e-40f, 1.0f, 3e38f};
  for (size_t i = 1; i < values.size(); ++i) {
    EXPECT_LT(ordered_key(values[i - 1]), ordered_key(values[i]));
  }
  EXPECT_EQ(ordered_key(-0.0f), ordered_key(0.0f));
}

}  // namespace
}  // namespace mimo::kernels::test
