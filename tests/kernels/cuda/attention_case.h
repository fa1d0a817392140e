#pragma once

#include <algorithm>
#include <cstring>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "tests/kernels/support.h"

// Steps of attention: pools, page tables and what must come out.
namespace mimo::kernels::test {

struct AttentionRun {
  int32_t context = 1;  // 0: padding
  int32_t rows = 1;
};

enum class Sinks { kNone, kNormal, kNever, kLarge };

struct AttentionShape {
  int32_t k_dim = 192;
  int32_t v_dim = 128;
  int32_t kv_heads = 1;
  int32_t group = 16;
  int32_t page_tokens = 64;
  int32_t window = 0;
  Sinks sinks = Sinks::kNone;
  int32_t spare_stride = 0;  // entries that the page tables have to spare
};

// Normal deviates as bf16; rows are slices of them.
inline const std::vector<uint16_t>& deviates() {
  static const std::vector<uint16_t> values = [] {
    std::vector<uint16_t> out(1 << 20);
    std::mt19937 generator(1);
    std::normal_distribution<float> normal;
    for (uint16_t& x : out) x = float_to_bf16(normal(generator));
    return out;
  }();
  return values;
}

// Pages stand in random order and slots too; every key that no row sees is NaN, as are entries of
// the tables that belong to nobody (-1). Tables are rings where there is a window.
struct AttentionCase {
  AttentionCase(const AttentionShape& with, const std::vector<AttentionRun>& step, uint32_t seed)
      : shape(with), runs(step), generator(seed) {
    for (size_t s = 0; s < runs.size(); ++s) {
      row_begin.push_back(num_tokens);
      context.push_back(runs[s].context);
      row_run.insert(row_run.end(), static_cast<size_t>(runs[s].rows), static_cast<int32_t>(s));
      num_tokens += runs[s].rows;
      rows_max = std::max(rows_max, runs[s].rows);
    }
    row_begin.push_back(num_tokens);
    slot.resize(runs.size() + 2);
    std::iota(slot.begin(), slot.end(), 0);
    std::shuffle(slot.begin(), slot.end(), generator);
    lay_out_pages();
    q.resize(static_cast<size_t>(num_tokens) * shape.kv_heads * shape.group * shape.k_dim);
    for (size_t i = 0; i < q.size(); i += static_cast<size_t>(shape.k_dim)) {
      draw(&q[i], shape.k_dim);
      // Twice as large, so that single keys show in the result.
      for (int32_t d = 0; d < shape.k_dim; ++d) {
        uint16_t& x = q[i + static_cast<size_t>(d)];
        x = float_to_bf16(2 * bf16_to_float(x));
      }
    }
    make_sinks();
  }

  // First key that a row of the run sees.
  int32_t first_key(size_t s) const {
    if (shape.window == 0) return 0;
    return std::max(0, runs[s].context - runs[s].rows - shape.window + 1);
  }
  int32_t first_page(size_t s) const { return first_key(s) / shape.page_tokens; }
  int32_t num_pages(size_t s) const {
    if (runs[s].context == 0) return 0;
    return (runs[s].context - 1) / shape.page_tokens - first_page(s) + 1;
  }

  // Where key `j`'s row of a kv head lies, in rows of the pools.
  int64_t row_at(size_t s, int32_t j, int32_t head) const {
    const int64_t entry = int64_t{slot[s]} * stride + j / shape.page_tokens % stride;
    const int64_t page = pages[static_cast<size_t>(entry)];
    return (page * shape.kv_heads + head) * shape.page_tokens + j % shape.page_tokens;
  }

  // The rows of a run that are compared: all of a short run, some of a long one.
  std::vector<int32_t> sampled_rows(size_t s) const {
    const int32_t rows = runs[s].rows;
    std::vector<int32_t> out;
    const int64_t work = int64_t{runs[s].context} * rows * shape.group * shape.k_dim;
    if (work < 8'000'000) {
      for (int32_t i = 0; i < rows; ++i) out.push_back(i);
      return out;
    }
    const int32_t tile = std::max(1, 128 / shape.group);
    for (const int32_t i : {0, 1, tile - 1, tile, rows / 2, rows / 3 * 2, rows - 2, rows - 1}) {
      if (i >= 0 && i < rows) out.push_back(i);
    }
    return out;
  }

  // [sampled rows, group * v_dim] of one kv head.
  reference::Matrix want(size_t s, int32_t head, const std::vector<int32_t>& rows) const {
    const int32_t base = runs[s].context - runs[s].rows;
    const int32_t begin = first_key(s);
    reference::Matrix k(runs[s].context - begin, shape.k_dim);
    reference::Matrix v(runs[s].context - begin, shape.v_dim);
    for (int32_t j = begin; j < runs[s].context; ++j) {
      const int64_t at = row_at(s, j, head);
      for (int32_t d = 0; d < shape.k_dim; ++d) k.at(j - begin, d) = value(k_pool, at, k.cols, d);
      for (int32_t d = 0; d < shape.v_dim; ++d) v.at(j - begin, d) = value(v_pool, at, v.cols, d);
    }
    reference::Matrix queries(static_cast<int64_t>(rows.size()), shape.group * shape.k_dim);
    std::vector<int32_t> positions;
    for (size_t i = 0; i < rows.size(); ++i) {
      const int64_t token = row_begin[s] + rows[i];
      for (int64_t c = 0; c < queries.cols; ++c) {
        queries.at(static_cast<int64_t>(i), c) =
            value(q, token * shape.kv_heads + head, queries.cols, c);
      }
      positions.push_back(base + rows[i] - begin);
    }
    std::span<const float> part(sinks);
    if (!part.empty()) {
      part =
          part.subspan(static_cast<size_t>(head * shape.group), static_cast<size_t>(shape.group));
    }
    const reference::QkvShape heads{shape.group, 1, shape.k_dim, shape.v_dim, 0, 0, 1};
    return reference::attention(queries, k, v, heads, positions, shape.window, part, scale(),
                                CpuMode::kDevice);
  }

  float scale() const { return 1.0f / std::sqrt(static_cast<float>(shape.k_dim)); }
  int64_t out_size() const {
    return int64_t{num_tokens} * shape.kv_heads * shape.group * shape.v_dim;
  }
  std::string name() const {
    std::string out = std::to_string(shape.k_dim) + "/" + std::to_string(shape.v_dim) + " kv " +
                      std::to_string(shape.kv_heads) + " x " + std::to_string(shape.group) +
                      " page " + std::to_string(shape.page_tokens) + " window " +
                      std::to_string(shape.window) + " sinks " +
                      std::to_string(static_cast<int>(shape.sinks)) + " runs";
    for (size_t s = 0; s < std::min<size_t>(runs.size(), 8); ++s) {
      out += " (" + std::to_string(runs[s].rows) + ", " + std::to_string(runs[s].context) + ")";
    }
    return runs.size() > 8 ? out + " ..." : out;
  }

  // `out`: [T, q heads, v_dim]. Weights are rounded to bf16 before they meet the values, and the
  // result too: each takes up to 2^-9 of a term, 1.1e-3 of it in the mean square, so 1.6e-3
  // together; the sums are float.
  void expect(std::span<const float> out, size_t runs_max = 1u << 30) const {
    const size_t step = std::max<size_t>(1, runs.size() / std::min(runs_max, runs.size()));
    for (size_t s = 0; s < runs.size(); ++s) {
      if (runs[s].context == 0) {
        expect_zeros(out, s);
      } else if (runs[s].rows > 0 && s % step == 0) {
        for (int32_t head = 0; head < shape.kv_heads; ++head) expect_head(out, s, head);
      }
    }
  }

  AttentionShape shape;
  std::vector<AttentionRun> runs;
  std::mt19937 generator;
  int32_t num_tokens = 0;
  int32_t rows_max = 1;
  int32_t stride = 1;
  std::vector<int32_t> row_begin, context, row_run, slot, pages;
  std::vector<uint16_t> q, k_pool, v_pool;
  std::vector<float> sinks;

 private:
  static double value(const std::vector<uint16_t>& pool, int64_t row, int64_t cols, int64_t c) {
    return bf16_to_float(pool[static_cast<size_t>(row * cols + c)]);
  }
  void draw(uint16_t* to, int32_t count) {
    const size_t from = generator() % (deviates().size() - static_cast<size_t>(count));
    std::memcpy(to, &deviates()[from], static_cast<size_t>(count) * sizeof *to);
  }

  void lay_out_pages() {
    int32_t all = 3;
    for (size_t s = 0; s < runs.size(); ++s) {
      stride = std::max(stride, num_pages(s));
      all += num_pages(s);
    }
    stride += shape.spare_stride;
    std::vector<int32_t> ids(static_cast<size_t>(all));
    std::iota(ids.begin(), ids.end(), 0);
    std::shuffle(ids.begin(), ids.end(), generator);
    pages.assign(slot.size() * static_cast<size_t>(stride), -1);
    const auto rows = static_cast<size_t>(all * shape.kv_heads) * shape.page_tokens;
    k_pool.assign(rows * static_cast<size_t>(shape.k_dim), 0xffff);
    v_pool.assign(rows * static_cast<size_t>(shape.v_dim), 0xffff);
    for (size_t s = 0; s < runs.size(); ++s) {
      for (int32_t e = 0; e < num_pages(s); ++e) {
        const int32_t entry = (first_page(s) + e) % stride;
        pages[static_cast<size_t>(slot[s] * stride + entry)] = ids.back();
        ids.pop_back();
      }
      for (int32_t j = first_key(s); j < runs[s].context; ++j) {
        for (int32_t head = 0; head < shape.kv_heads; ++head) {
          const auto at = static_cast<size_t>(row_at(s, j, head));
          draw(&k_pool[at * static_cast<size_t>(shape.k_dim)], shape.k_dim);
          draw(&v_pool[at * static_cast<size_t>(shape.v_dim)], shape.v_dim);
        }
      }
    }
  }

  void make_sinks() {
    if (shape.sinks == Sinks::kNone) return;
    std::normal_distribution<float> normal(0.0f, 4.0f);
    for (int32_t h = 0; h < shape.kv_heads * shape.group; ++h) {
      sinks.push_back(shape.sinks == Sinks::kNormal  ? normal(generator)
                      : shape.sinks == Sinks::kNever ? -kInfinity
                                                     : 60.0f);
    }
  }

  void expect_zeros(std::span<const float> out, size_t s) const {
    const int64_t cols = int64_t{shape.kv_heads} * shape.group * shape.v_dim;
    for (int64_t i = row_begin[s] * cols; i < row_begin[s + 1] * cols; ++i) {
      ASSERT_EQ(out[static_cast<size_t>(i)], 0.0f)
          << name() << ": padding run " << s << ", element " << i - row_begin[s] * cols;
    }
  }

  void expect_head(std::span<const float> out, size_t s, int32_t head) const {
    const std::vector<int32_t> rows = sampled_rows(s);
    const reference::Matrix wanted = want(s, head, rows);
    std::vector<float> got;
    for (const int32_t row : rows) {
      const int64_t at =
          (int64_t{row_begin[s] + row} * shape.kv_heads + head) * shape.group * shape.v_dim;
      got.insert(got.end(), out.begin() + at, out.begin() + at + shape.group * shape.v_dim);
    }
    const std::string where =
        name() + ": run " + std::to_string(s) + ", kv head " + std::to_string(head);
    // A few results may all hang on one key's weight, so that nothing averages out.
    EXPECT_LT(relative_error(got, wanted), got.size() < 64 ? 8e-3 : 4e-3)
        << where << worst(got, wanted, rows);
    double largest = 0;
    for (const double x : wanted.data) largest = std::max(largest, std::fabs(x));
    EXPECT_LE(max_difference(got, wanted), 0.02 * largest) << where << worst(got, wanted, rows);
  }

  // The first element that is no number, or the one that is furthest off.
  std::string worst(std::span<const float> got, const reference::Matrix& wanted,
                    const std::vector<int32_t>& rows) const {
    size_t at = 0;
    for (size_t i = 0; i < got.size() && !std::isnan(got[at]); ++i) {
      if (!(std::fabs(got[i] - wanted.data[i]) <= std::fabs(got[at] - wanted.data[at]))) at = i;
    }
    const auto cols = static_cast<size_t>(wanted.cols);
    const auto v_dim = static_cast<size_t>(shape.v_dim);
    return ", row " + std::to_string(rows[at / cols]) + ", head " +
           std::to_string(at % cols / v_dim) + ", column " + std::to_string(at % v_dim) + ": " +
           std::to_string(got[at]) + ", not " + std::to_string(wanted.data[at]);
  }
};

}  // namespace mimo::kernels::test
