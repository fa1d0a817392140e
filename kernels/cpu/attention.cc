#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "base/check.h"
#include "kernels/cpu/context.h"
#include "kernels/cpu/simd.h"

namespace mimo::kernels {
namespace {

// Keys come in blocks of 128 that begin at multiples of 128, whatever the page size and whichever
// rows stand in the tile: a row's result depends on its own keys alone.
constexpr int32_t kKeys = kDepth;
constexpr int32_t kTileRows = 64;  // query rows times the q heads of a kv head
constexpr float kNever = -std::numeric_limits<float>::infinity();

// Some query rows of one run, and one kv head.
struct Item {
  int32_t run;
  int32_t kv_head;
  int32_t row;  // the first, in [0, T)
  int32_t num_rows;
};

int32_t padded(int32_t n) { return (n + kPanel - 1) / kPanel * kPanel; }

float load(const void* pool, DType dtype, int64_t at) {
  if (dtype == DType::kF32) return static_cast<const float*>(pool)[at];
  return bf16_to_float(static_cast<const uint16_t*>(pool)[at]);
}

// Online softmax of one tile: m the maxima, sums of exp(score - m), values weighted so.
class AttentionTile {
 public:
  AttentionTile(const AttentionParams& p, const Item& item)
      : p_(p),
        item_(item),
        table_row_(table_row(p.runs, item.run)),
        group_(p.num_q_heads / p.kv.kv_heads),
        num_(item.num_rows * group_),
        v_cols_(padded(p.kv.v_dim)) {
    queries_.resize(static_cast<size_t>(num_) * p.kv.k_dim);
    keys_.resize(static_cast<size_t>(kKeys) * p.kv.k_dim);
    values_.resize(static_cast<size_t>(kKeys) * v_cols_);
    scores_.resize(static_cast<size_t>(num_) * kKeys);
    sums_.assign(static_cast<size_t>(num_), 0.0f);
    maxima_.assign(static_cast<size_t>(num_), kNever);
    out_.assign(static_cast<size_t>(num_) * v_cols_, 0.0f);
  }

  void run() {
    load_queries();
    const int32_t last = position(item_.num_rows - 1);
    const int32_t first = first_key(0);
    for (int32_t begin = first / kKeys * kKeys; begin <= last; begin += kKeys) {
      const int32_t from = std::max(first, begin);
      const int32_t to = std::min(last + 1, begin + kKeys);
      load_block(begin, from, to);
      score_block();
      for (int32_t i = 0; i < num_; ++i) weigh(i, begin);
      add_values();
    }
    for (int32_t i = 0; i < num_; ++i) finish(i);
  }

  // [num_rows, group, v_dim], rows v_cols() apart
  const float* out() const { return out_.data(); }
  int32_t v_cols() const { return v_cols_; }

 private:
  int32_t position(int32_t row) const {
    const Runs& runs = p_.runs;
    return runs.context[item_.run] - (runs.row_begin[item_.run + 1] - (item_.row + row));
  }
  int32_t first_key(int32_t row) const {
    return p_.window > 0 ? std::max(0, position(row) - p_.window + 1) : 0;
  }

  void load_queries() {
    const auto* q = static_cast<const float*>(p_.q);
    const int32_t k_dim = p_.kv.k_dim;
    for (int32_t r = 0; r < item_.num_rows; ++r) {
      const int64_t head = int64_t{item_.row + r} * p_.num_q_heads + item_.kv_head * group_;
      std::memcpy(&queries_[static_cast<size_t>(r) * group_ * k_dim], q + head * k_dim,
                  sizeof(float) * group_ * k_dim);
    }
  }

  // Keys and values [from, to) of the block, in panels of 16 keys and of 16 value columns; zeros
  // elsewhere, which add nothing.
  void load_block(int32_t begin, int32_t from, int32_t to) {
    const PagedKv& kv = p_.kv;
    std::fill(keys_.begin(), keys_.end(), 0.0f);
    std::fill(values_.begin(), values_.end(), 0.0f);
    for (int32_t j = from; j < to; ++j) {
      const int64_t row = cache_row(kv, table_row_, item_.kv_head, j);
      const int32_t at = j - begin;
      float* key = &keys_[static_cast<size_t>(at / kPanel) * kv.k_dim * kPanel + at % kPanel];
      for (int32_t d = 0; d < kv.k_dim; ++d) {
        key[d * kPanel] = load(kv.k, kv.k_dtype, row * kv.k_dim + d);
      }
      for (int32_t d = 0; d < kv.v_dim; ++d) {
        values_[static_cast<size_t>(d / kPanel * kKeys + at) * kPanel + d % kPanel] =
            load(kv.v, kv.v_dtype, row * kv.v_dim + d);
      }
    }
  }

  void score_block() {
    ProductBlock block;
    block.rows = num_;
    block.panels = kKeys / kPanel;
    block.a_stride = p_.kv.k_dim;
    block.b_stride = int64_t{p_.kv.k_dim} * kPanel;
    block.c = scores_.data();
    block.c_stride = kKeys;
    for (int32_t d = 0; d < p_.kv.k_dim; d += kDepth) {
      block.a = queries_.data() + d;
      block.b = keys_.data() + int64_t{d} * kPanel;
      block.depth = std::min(kDepth, p_.kv.k_dim - d);
      block.add = d > 0;
      simd().product(block);
    }
  }

  // Scores of row i become weights; zero where the row does not see the key.
  void weigh(int32_t i, int32_t begin) {
    const int32_t row = i / group_;
    float* scores = &scores_[static_cast<size_t>(i) * kKeys];
    const int32_t from = std::clamp(first_key(row) - begin, 0, kKeys);
    const int32_t to = std::clamp(position(row) + 1 - begin, 0, kKeys);
    float largest = maxima_[i];
    for (int32_t j = from; j < to; ++j) {
      scores[j] *= p_.scale;
      largest = std::max(largest, scores[j]);
    }
    std::fill(scores, scores + std::min(from, kKeys), 0.0f);
    std::fill(scores + std::max(to, from), scores + kKeys, 0.0f);
    if (from >= to) return;
    const float factor = maxima_[i] == kNever ? 0.0f : std::exp(maxima_[i] - largest);
    float lanes[kPanel] = {};
    simd().exps(scores + from, to - from, largest, 1.0f, scores + from);
    for (int32_t j = 0; j < kKeys; j += kPanel) {
      for (int32_t lane = 0; lane < kPanel; ++lane) lanes[lane] += scores[j + lane];
    }
    float sum = 0;
    for (const float lane : lanes) sum += lane;
    sums_[i] = sums_[i] * factor + sum;
    maxima_[i] = largest;
    if (factor == 1.0f) return;
    float* out = &out_[static_cast<size_t>(i) * v_cols_];
    for (int32_t d = 0; d < v_cols_; ++d) out[d] *= factor;
  }

  void add_values() {
    ProductBlock block;
    block.rows = num_;
    block.panels = v_cols_ / kPanel;
    block.depth = kKeys;
    block.a = scores_.data();
    block.a_stride = kKeys;
    block.b = values_.data();
    block.b_stride = kKeys * kPanel;
    block.c = out_.data();
    block.c_stride = v_cols_;
    block.add = true;
    simd().product(block);
  }

  // The sink joins the maximum and the denominator, and divides.
  void finish(int32_t i) {
    float factor = 1.0f;
    float sum = sums_[i];
    if (p_.sinks != nullptr) {
      const float sink = p_.sinks[item_.kv_head * group_ + i % group_];
      const float largest = std::max(maxima_[i], sink);
      factor = std::exp(maxima_[i] - largest);
      sum = sum * factor + std::exp(sink - largest);
    }
    float* out = &out_[static_cast<size_t>(i) * v_cols_];
    for (int32_t d = 0; d < v_cols_; ++d) out[d] = out[d] * factor / sum;
  }

  const AttentionParams& p_;
  const Item& item_;
  const int32_t table_row_;
  const int32_t group_;
  const int32_t num_;
  const int32_t v_cols_;
  std::vector<float> queries_;  // [num, k_dim]
  std::vector<float> keys_;     // [128 / 16][k_dim][16]
  std::vector<float> values_;   // [v_cols / 16][128][16]
  std::vector<float> scores_;   // [num, 128]
  std::vector<float> maxima_;   // [num]
  std::vector<float> sums_;     // [num]
  std::vector<float> out_;      // [num, v_cols]
};

std::vector<Item> items_of(const AttentionParams& p) {
  const int32_t group = p.num_q_heads / p.kv.kv_heads;
  const int32_t tile = std::max(1, kTileRows / group);
  std::vector<Item> items;
  for (int32_t s = 0; s < p.runs.num_runs; ++s) {
    if (p.runs.context[s] == 0) continue;
    const int32_t end = p.runs.row_begin[s + 1];
    for (int32_t row = p.runs.row_begin[s]; row < end; row += tile) {
      for (int32_t h = 0; h < p.kv.kv_heads; ++h) {
        items.push_back({s, h, row, std::min(tile, end - row)});
      }
    }
  }
  return items;
}

// Padding sees nothing.
void clear_padding(const AttentionParams& p) {
  const int64_t cols = int64_t{p.num_q_heads} * p.kv.v_dim;
  auto* out = static_cast<float*>(p.out);
  for (int32_t s = 0; s < p.runs.num_runs; ++s) {
    if (p.runs.context[s] > 0) continue;
    std::fill(out + p.runs.row_begin[s] * cols, out + p.runs.row_begin[s + 1] * cols, 0.0f);
  }
}

int64_t cost_of(const AttentionParams& p) {
  int64_t keys = 0;
  for (int32_t s = 0; s < p.runs.num_runs; ++s) {
    const int32_t rows = p.runs.row_begin[s + 1] - p.runs.row_begin[s];
    const int32_t seen = p.runs.context[s];
    keys += int64_t{rows} * (p.window > 0 ? std::min(seen, p.window) : seen);
  }
  return keys * p.num_q_heads * (p.kv.k_dim + p.kv.v_dim + 20);
}

}  // namespace

void attention(CpuContext& context, const AttentionParams& p) {
  CHECK_GT(p.kv.kv_heads, 0);
  CHECK_EQ(p.num_q_heads % p.kv.kv_heads, 0);
  CHECK(p.kv.k_dtype == DType::kF32 || p.kv.k_dtype == DType::kBf16);
  CHECK(p.kv.v_dtype == DType::kF32 || p.kv.v_dtype == DType::kBf16);
  const int32_t group = p.num_q_heads / p.kv.kv_heads;
  clear_padding(p);
  const std::vector<Item> items = items_of(p);
  auto* out = static_cast<float*>(p.out);
  context.pool.run(static_cast<int64_t>(items.size()), cost_of(p), [&](int64_t i) {
    const Item& item = items[static_cast<size_t>(i)];
    AttentionTile tile(p, item);
    tile.run();
    for (int32_t r = 0; r < item.num_rows * group; ++r) {
      const int64_t head =
          int64_t{item.row + r / group} * p.num_q_heads + item.kv_head * group + r % group;
      const float* from = tile.out() + int64_t{r} * tile.v_cols();
      for (int32_t d = 0; d < p.kv.v_dim; ++d) {
        out[head * p.kv.v_dim + d] = context.stored(from[d]);
      }
    }
  });
}

}  // namespace mimo::kernels
