#include "kernels/cpu/select.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "base/check.h"

namespace mimo::kernels {
namespace {

// The key is read in three digits from the top: a histogram each finds the digit where the
// cut lies, in one pass over the row, with no sort and no branch that depends on the data's order.
struct Digit {
  int shift;
  int bits;
};
constexpr Digit kDigits[] = {{21, 11}, {10, 11}, {0, 10}};
constexpr int32_t kLanes = 16;
constexpr int64_t kBlock = 256;

template <typename Weight>
Cut find_cut(std::span<const float> row, double mass, const Weight& weight) {
  std::vector<double> histogram(size_t{1} << 11);
  uint32_t prefix = 0;
  double above = 0;
  for (const Digit digit : kDigits) {
    const uint64_t mask = (uint64_t{1} << (digit.shift + digit.bits));
    const auto same = static_cast<uint32_t>(~(mask - 1));  // the digits found so far
    std::fill(histogram.begin(), histogram.end(), 0.0);
    for (size_t i = 0; i < row.size(); ++i) {
      const uint32_t key = ordered_key(row[i]);
      if ((key & same) != prefix) continue;
      histogram[(key >> digit.shift) & ((1u << digit.bits) - 1)] += weight(i);
    }
    auto bin = static_cast<int32_t>((1u << digit.bits) - 1);
    while (bin >= 0 && above + histogram[bin] < mass) above += histogram[bin--];
    if (bin < 0) return {0, static_cast<int64_t>(row.size())};
    prefix |= static_cast<uint32_t>(bin) << digit.shift;
  }
  int64_t num_equal = 0;
  double each = 0;
  for (size_t i = 0; i < row.size(); ++i) {
    if (ordered_key(row[i]) != prefix) continue;
    ++num_equal;
    each = weight(i);
  }
  int64_t ties = 1;
  while (ties < num_equal && above + static_cast<double>(ties) * each < mass) ++ties;
  return {prefix, ties};
}

}  // namespace

uint32_t ordered_key(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x + 0.0f);
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

Cut cut_by_count(std::span<const float> row, int64_t count) {
  CHECK(count > 0 && count <= static_cast<int64_t>(row.size()));
  return find_cut(row, static_cast<double>(count), [](size_t) { return 1.0; });
}

Cut cut_by_mass(std::span<const float> row, const float* weights, double mass) {
  return find_cut(row, mass, [weights](size_t i) { return double{weights[i]}; });
}

void keep(std::span<const float> row, Cut cut, float* weights) {
  int64_t ties = cut.ties;
  for (size_t i = 0; i < row.size(); ++i) {
    const uint32_t key = ordered_key(row[i]);
    if (key > cut.key || (key == cut.key && ties-- > 0)) continue;
    weights[i] = 0;
  }
}

std::vector<TokenLogprob> best(std::span<const float> row, int64_t count) {
  std::vector<TokenLogprob> out;
  if (count <= 0) return out;
  const Cut cut = cut_by_count(row, std::min<int64_t>(count, static_cast<int64_t>(row.size())));
  int64_t ties = cut.ties;
  for (size_t i = 0; i < row.size(); ++i) {
    const uint32_t key = ordered_key(row[i]);
    if (key < cut.key || (key == cut.key && ties-- <= 0)) continue;
    out.push_back({static_cast<int32_t>(i), row[i]});
  }
  std::sort(out.begin(), out.end(), [](const TokenLogprob& a, const TokenLogprob& b) {
    return a.logprob != b.logprob ? a.logprob > b.logprob : a.id < b.id;
  });
  return out;
}

RowSummary summarize(std::span<const float> row) {
  float lanes[kLanes];
  uint32_t bad[kLanes] = {};
  std::fill(lanes, lanes + kLanes, -std::numeric_limits<float>::infinity());
  const auto look = [&](size_t at, int32_t lane) {
    const float x = row[at];
    lanes[lane] = x > lanes[lane] ? x : lanes[lane];
    bad[lane] |= (std::bit_cast<uint32_t>(x) & 0x7f800000u) == 0x7f800000u ? 1u : 0u;
  };
  size_t at = 0;
  for (; at + kLanes <= row.size(); at += kLanes) {
    for (int32_t lane = 0; lane < kLanes; ++lane) look(at + lane, lane);
  }
  for (; at < row.size(); ++at) look(at, 0);
  RowSummary out{lanes[0], true};
  for (int32_t lane = 0; lane < kLanes; ++lane) {
    out.max = std::max(out.max, lanes[lane]);
    out.finite = out.finite && bad[lane] == 0;
  }
  return out;
}

int32_t index_of(std::span<const float> row, float value) {
  size_t at = 0;
  for (; at + kLanes <= row.size(); at += kLanes) {
    uint32_t found = 0;
    for (int32_t lane = 0; lane < kLanes; ++lane) found |= row[at + lane] == value ? 1u : 0u;
    if (found != 0) break;
  }
  for (; at < row.size(); ++at) {
    if (row[at] == value) return static_cast<int32_t>(at);
  }
  return -1;
}

double log_sum_exp(std::span<const float> row, float max) {
  double total = 0;
  for (const float x : row) total += std::exp(x - max);
  return max + std::log(total);
}

int32_t rank_of(std::span<const float> row, int32_t id) {
  const float value = row[id];
  int32_t rank = 1;
  for (const float x : row) rank += x > value ? 1 : 0;
  for (int32_t i = 0; i < id; ++i) rank += row[i] == value ? 1 : 0;
  return rank;
}

double sum(std::span<const float> values) {
  double lanes[kLanes] = {};
  size_t at = 0;
  for (; at + kLanes <= values.size(); at += kLanes) {
    for (int32_t lane = 0; lane < kLanes; ++lane) lanes[lane] += double{values[at + lane]};
  }
  for (; at < values.size(); ++at) lanes[0] += double{values[at]};
  double total = 0;
  for (const double lane : lanes) total += lane;
  return total;
}

int32_t draw(std::span<const float> weights, double uniform) {
  const auto size = static_cast<int64_t>(weights.size());
  const auto block_at = [&](int64_t begin) {
    return weights.subspan(begin, std::min(kBlock, size - begin));
  };
  std::vector<double> blocks;
  double total = 0;
  for (int64_t begin = 0; begin < size; begin += kBlock) {
    blocks.push_back(sum(block_at(begin)));
    total += blocks.back();
  }
  const double target = uniform * total;
  double passed = 0;
  int32_t last = -1;  // where rounding leaves the sum below the target, the last that can be drawn
  for (size_t b = 0; b < blocks.size(); ++b) {
    if (blocks[b] == 0) continue;
    if (passed + blocks[b] <= target && b + 1 < blocks.size()) {
      passed += blocks[b];
      continue;
    }
    const int64_t begin = static_cast<int64_t>(b) * kBlock;
    double inside = passed;
    for (int64_t i = begin; i < std::min(size, begin + kBlock); ++i) {
      if (weights[i] == 0) continue;
      inside += double{weights[i]};
      last = static_cast<int32_t>(i);
      if (inside > target) return last;
    }
    passed += blocks[b];
  }
  if (last >= 0) return last;
  for (int64_t i = size; i-- > 0;) {
    if (weights[i] > 0) return static_cast<int32_t>(i);
  }
  return -1;
}

}  // namespace mimo::kernels
