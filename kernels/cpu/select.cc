#include "kernels/cpu/select.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "kernels/cpu/simd.h"

namespace mimo::kernels {
namespace {

// The key is read in three digits from the top. A histogram finds the digit where the cut lies; the
// next digit looks only at what shares the digits before. No sort, and no branch that depends on
// the data's order.
struct Digit {
  int shift;
  int bits;
};
constexpr Digit kDigits[] = {{21, 11}, {10, 11}, {0, 10}};
constexpr size_t kBins = size_t{1} << 11;
constexpr size_t kWays = 4;  // a power of two; neighbours often share a bin, and four need not wait
constexpr size_t kLong = 16384;  // for a shorter row, clearing four takes longer than waiting
constexpr int32_t kLanes = 16;
constexpr int64_t kBlock = 256;

float value_of(uint32_t key) {
  return std::bit_cast<float>((key & 0x80000000u) != 0 ? key & 0x7fffffffu : ~key);
}

// Sum is double for weights, int64_t for counts; weight(i) is that of row[i]; id(i) is the row's
// i-th candidate of `num`.
template <typename Sum, typename Weight, typename Id>
void fill_histogram(std::span<const float> row, size_t num, Digit digit, const Weight& weight,
                    const Id& id, std::vector<Sum>& histogram) {
  std::fill(histogram.begin(), histogram.end(), Sum{0});
  const uint32_t mask = (1u << digit.bits) - 1;
  const size_t num_ways = histogram.size() / kBins;
  for (size_t i = 0; i < num; ++i) {
    const size_t at = id(i);
    histogram[(i & (num_ways - 1)) * kBins + ((ordered_key(row[at]) >> digit.shift) & mask)] +=
        weight(at);
  }
  for (size_t way = 1; way < num_ways; ++way) {
    for (size_t bin = 0; bin < kBins; ++bin) histogram[bin] += histogram[way * kBins + bin];
  }
}

// Those of `num` candidates whose digit is `bin`.
template <typename Id>
std::vector<int32_t> matching(std::span<const float> row, size_t num, Digit digit, uint32_t bin,
                              const Id& id) {
  const uint32_t mask = (1u << digit.bits) - 1;
  std::vector<int32_t> out(num + 1);
  size_t count = 0;
  for (size_t i = 0; i < num; ++i) {
    const size_t at = id(i);
    out[count] = static_cast<int32_t>(at);
    count += ((ordered_key(row[at]) >> digit.shift) & mask) == bin ? 1 : 0;
  }
  out.resize(count);
  return out;
}

template <typename Sum, typename Weight>
Cut find_cut(std::span<const float> row, Sum mass, const Weight& weight) {
  std::vector<Sum> histogram((row.size() < kLong ? 1 : kWays) * kBins);
  std::vector<int32_t> candidates;
  const auto any = [](size_t i) { return i; };
  const auto candidate = [&](size_t i) { return static_cast<size_t>(candidates[i]); };
  uint32_t key = 0;
  Sum above = 0;
  for (const Digit digit : kDigits) {
    const bool first = digit.shift == kDigits[0].shift;
    if (first) {
      fill_histogram(row, row.size(), digit, weight, any, histogram);
    } else {
      fill_histogram(row, candidates.size(), digit, weight, candidate, histogram);
    }
    int32_t bin = (1 << digit.bits) - 1;
    while (bin > 0 && above + histogram[bin] < mass) above += histogram[bin--];
    const auto found = static_cast<uint32_t>(bin);
    candidates = first ? matching(row, row.size(), digit, found, any)
                       : matching(row, candidates.size(), digit, found, candidate);
    key |= found << digit.shift;
    // Rounding may leave the mass out of reach: then everything is inside.
    if (candidates.empty()) return {-std::numeric_limits<float>::infinity(), 0, 0};
  }
  const auto num_equal = static_cast<int64_t>(candidates.size());
  const Sum each = weight(candidate(0));
  int64_t ties = 1;
  while (ties < num_equal && above + static_cast<Sum>(ties) * each < mass) ++ties;
  return {value_of(key), ties, num_equal};
}

}  // namespace

uint32_t ordered_key(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x + 0.0f);
  return bits ^ (static_cast<uint32_t>(static_cast<int32_t>(bits) >> 31) | 0x80000000u);
}

Cut cut_by_count(std::span<const float> row, int64_t count) {
  CHECK(count > 0 && count <= static_cast<int64_t>(row.size()));
  return find_cut<int64_t>(row, count, [](size_t) { return int64_t{1}; });
}

Cut cut_by_mass(std::span<const float> row, const float* weights, double mass) {
  return find_cut<double>(row, mass, [weights](size_t i) { return double{weights[i]}; });
}

void keep(std::span<const float> row, Cut cut, float* weights) {
  for (size_t i = 0; i < row.size(); ++i) weights[i] = row[i] >= cut.value ? weights[i] : 0.0f;
  if (cut.ties == cut.num_equal) return;
  int64_t ties = cut.ties;
  for (size_t i = 0; i < row.size(); ++i) {
    if (row[i] == cut.value && ties-- <= 0) weights[i] = 0;
  }
}

void kept_ids(std::span<const float> row, Cut cut, std::vector<int32_t>& ids) {
  ids.resize(row.size() + 1);
  size_t count = 0;
  int64_t ties = cut.ties;
  for (size_t i = 0; i < row.size(); ++i) {
    const bool equal = row[i] == cut.value;
    ids[count] = static_cast<int32_t>(i);
    count += row[i] > cut.value || (equal && ties > 0) ? 1 : 0;
    ties -= equal ? 1 : 0;
  }
  ids.resize(count);
}

std::vector<TokenLogprob> best(std::span<const float> row, int64_t count) {
  std::vector<TokenLogprob> out;
  if (count <= 0) return out;
  const auto size = static_cast<int64_t>(row.size());
  std::vector<int32_t> ids;
  kept_ids(row, cut_by_count(row, std::min(count, size)), ids);
  for (const int32_t id : ids) out.push_back({id, row[id]});
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

double log_sum_exp(std::span<const float> row, float max, std::vector<float>& buffer) {
  buffer.resize(row.size());
  simd().exps(row.data(), static_cast<int64_t>(row.size()), max, 1.0f, buffer.data());
  return max + std::log(sum(buffer));
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
