#pragma once

#include <algorithm>
#include <random>
#include <vector>

#include "tests/kernels/support.h"

namespace mimo::kernels::test {

// One sequence of a step: `context` keys after it, the last `rows` of them new. Context 0: padding.
struct Sequence {
  int32_t context = 1;
  int32_t rows = 1;
};

struct KvShape {
  reference::QkvShape heads;
  int32_t page_tokens = 16;
  DType k_dtype = DType::kF32;
  DType v_dtype = DType::kF32;
};

// Pools and page tables of a step. Pages and the tables' rows stand in random order; what no
// sequence has written is NaN, table entries of no page are -1, and where `window` is given the
// pages before it are not there at all.
class KvCase {
 public:
  KvCase(const KvShape& shape, const std::vector<Sequence>& sequences, int32_t window,
         uint32_t seed)
      : shape_(shape), sequences_(sequences) {
    for (size_t s = 0; s < sequences.size(); ++s) {
      const Sequence& sequence = sequences[s];
      row_begin_.push_back(num_tokens_);
      context_.push_back(sequence.context);
      row_run_.insert(row_run_.end(), static_cast<size_t>(sequence.rows), static_cast<int32_t>(s));
      num_tokens_ += sequence.rows;
      const int32_t oldest = sequence.context - sequence.rows + 1 - window;
      first_page_.push_back(window > 0 ? std::max(0, oldest) / shape.page_tokens : 0);
      stride_ = std::max(stride_, num_pages(s) + 1);
    }
    row_begin_.push_back(num_tokens_);
    set_rows_per_run();
    lay_out_pages(seed);
  }

  int32_t num_tokens() const { return num_tokens_; }
  Runs runs() const {
    return {num_tokens_,       static_cast<int32_t>(sequences_.size()),
            row_begin_.data(), context_.data(),
            row_run_.data(),   slot_.data(),
            rows_per_run_max_};
  }
  PagedKv kv() {
    const auto& h = shape_.heads;
    return {k_.data(), v_.data(), shape_.k_dtype,     shape_.v_dtype, h.kv_heads,
            h.k_dim,   h.v_dim,   shape_.page_tokens, pages_.data(),  stride_};
  }
  // What runs() and kv() point at, for a backend that keeps copies of its own.
  const std::vector<int32_t>& row_begin() const { return row_begin_; }
  const std::vector<int32_t>& context() const { return context_; }
  const std::vector<int32_t>& row_run() const { return row_run_; }
  const std::vector<int32_t>& slot() const { return slot_; }
  const std::vector<int32_t>& pages() const { return pages_; }  // [table rows, stride]
  std::vector<uint8_t>& k_pool() { return k_; }
  std::vector<uint8_t>& v_pool() { return v_; }
  bool is_padding(size_t s) const { return sequences_[s].context == 0; }
  std::vector<int32_t> positions(size_t s) const {
    if (is_padding(s)) return std::vector<int32_t>(static_cast<size_t>(sequences_[s].rows), 0);
    std::vector<int32_t> out;
    for (int32_t i = sequences_[s].context - sequences_[s].rows; i < sequences_[s].context; ++i) {
      out.push_back(i);
    }
    return out;
  }
  std::vector<int32_t> all_positions() const {
    std::vector<int32_t> out;
    for (size_t s = 0; s < sequences_.size(); ++s) {
      const auto part = positions(s);
      out.insert(out.end(), part.begin(), part.end());
    }
    return out;
  }

  // Fills key and value of every position whose page is there; the dense copies that come back hold
  // them as stored, NaN where there is no page.
  struct Dense {
    reference::Matrix k;
    reference::Matrix v;
  };
  Dense fill(size_t s, uint32_t seed) {
    const auto& h = shape_.heads;
    const int32_t context = sequences_[s].context;
    Dense out{reference::Matrix(context, int64_t{h.kv_heads} * h.k_dim),
              reference::Matrix(context, int64_t{h.kv_heads} * h.v_dim)};
    const auto k = random_floats(static_cast<int64_t>(out.k.data.size()), seed, CpuMode::kF32);
    const auto v = random_floats(static_cast<int64_t>(out.v.data.size()), seed + 1, CpuMode::kF32);
    for (int32_t j = 0; j < context; ++j) {
      for (int32_t head = 0; head < h.kv_heads; ++head) {
        for (int32_t d = 0; d < h.k_dim; ++d) {
          const int64_t c = int64_t{head} * h.k_dim + d;
          out.k.at(j, c) = put(k_, shape_.k_dtype, s, j, head, h.k_dim, d,
                               k[static_cast<size_t>(j * out.k.cols + c)]);
        }
        for (int32_t d = 0; d < h.v_dim; ++d) {
          const int64_t c = int64_t{head} * h.v_dim + d;
          out.v.at(j, c) = put(v_, shape_.v_dtype, s, j, head, h.v_dim, d,
                               v[static_cast<size_t>(j * out.v.cols + c)]);
        }
      }
    }
    return out;
  }
  // Key (or value) element as the cache holds it.
  float k_at(size_t s, int32_t j, int32_t head, int32_t d) const {
    return get(k_, shape_.k_dtype, index(s, j, head, shape_.heads.k_dim, d));
  }
  float v_at(size_t s, int32_t j, int32_t head, int32_t d) const {
    return get(v_, shape_.v_dtype, index(s, j, head, shape_.heads.v_dim, d));
  }
  // The same pools and pages at another step of the same sequences.
  KvCase with(const std::vector<Sequence>& sequences) const {
    KvCase out = *this;
    out.sequences_ = sequences;
    out.row_begin_.clear();
    out.row_run_.clear();
    out.num_tokens_ = 0;
    for (size_t s = 0; s < sequences.size(); ++s) {
      out.row_begin_.push_back(out.num_tokens_);
      out.context_[s] = sequences[s].context;
      out.row_run_.insert(out.row_run_.end(), static_cast<size_t>(sequences[s].rows),
                          static_cast<int32_t>(s));
      out.num_tokens_ += sequences[s].rows;
    }
    out.row_begin_.push_back(out.num_tokens_);
    out.set_rows_per_run();
    return out;
  }
  void take_pools(KvCase& from) {
    k_ = std::move(from.k_);
    v_ = std::move(from.v_);
  }
  int64_t num_written() const {
    int64_t out = 0;
    const int64_t size = static_cast<int64_t>(k_.size()) / dtype_bytes(shape_.k_dtype);
    for (int64_t i = 0; i < size; ++i) out += std::isnan(get(k_, shape_.k_dtype, i)) ? 0 : 1;
    return out;
  }

 private:
  int32_t num_pages(size_t s) const {
    if (is_padding(s)) return 0;
    return (sequences_[s].context - 1) / shape_.page_tokens - first_page_[s] + 1;
  }
  void set_rows_per_run() {
    rows_per_run_max_ = 1;
    for (const Sequence& s : sequences_) rows_per_run_max_ = std::max(rows_per_run_max_, s.rows);
  }
  static std::vector<int32_t> shuffled(int32_t count, std::mt19937& generator) {
    std::vector<int32_t> out(static_cast<size_t>(count));
    for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<int32_t>(i);
    std::shuffle(out.begin(), out.end(), generator);
    return out;
  }
  void lay_out_pages(uint32_t seed) {
    const auto num_runs = static_cast<int32_t>(sequences_.size());
    std::mt19937 generator(seed);
    const std::vector<int32_t> ids = shuffled(num_runs * stride_ + 3, generator);
    const int32_t num_slots = num_runs + 2;
    slot_ = shuffled(num_slots, generator);
    slot_.resize(sequences_.size());
    pages_.assign(static_cast<size_t>(num_slots * stride_), -1);
    size_t next = 0;
    for (size_t s = 0; s < sequences_.size(); ++s) {
      for (int32_t i = 0; i < num_pages(s); ++i) pages_[entry(s, first_page_[s] + i)] = ids[next++];
    }
    const auto& h = shape_.heads;
    const int64_t rows = static_cast<int64_t>(ids.size()) * h.kv_heads * shape_.page_tokens;
    k_.assign(static_cast<size_t>(rows * h.k_dim * dtype_bytes(shape_.k_dtype)), 0xff);
    v_.assign(static_cast<size_t>(rows * h.v_dim * dtype_bytes(shape_.v_dtype)), 0xff);
  }

  // The place of a sequence's logical page in the tables.
  size_t entry(size_t s, int32_t page) const {
    return static_cast<size_t>(slot_[s] * stride_ + page % stride_);
  }
  // -1 where the page is not there.
  int64_t index(size_t s, int32_t j, int32_t head, int32_t dim, int32_t d) const {
    if (j / shape_.page_tokens < first_page_[s]) return -1;
    const int64_t page = pages_[entry(s, j / shape_.page_tokens)];
    return ((page * shape_.heads.kv_heads + head) * shape_.page_tokens + j % shape_.page_tokens) *
               dim +
           d;
  }
  static float get(const std::vector<uint8_t>& pool, DType dtype, int64_t at) {
    if (dtype == DType::kF32) return reinterpret_cast<const float*>(pool.data())[at];
    return bf16_to_float(reinterpret_cast<const uint16_t*>(pool.data())[at]);
  }
  double put(std::vector<uint8_t>& pool, DType dtype, size_t s, int32_t j, int32_t head,
             int32_t dim, int32_t d, float value) {
    const int64_t at = index(s, j, head, dim, d);
    if (at < 0) return kNan;
    if (dtype == DType::kF32) {
      reinterpret_cast<float*>(pool.data())[at] = value;
    } else {
      reinterpret_cast<uint16_t*>(pool.data())[at] = float_to_bf16(value);
    }
    return get(pool, dtype, at);
  }

  KvShape shape_;
  std::vector<Sequence> sequences_;
  int32_t num_tokens_ = 0;
  int32_t stride_ = 1;
  std::vector<int32_t> row_begin_;
  std::vector<int32_t> context_;
  std::vector<int32_t> row_run_;
  std::vector<int32_t> slot_;
  int32_t rows_per_run_max_ = 1;
  std::vector<int32_t> first_page_;
  std::vector<int32_t> pages_;
  std::vector<uint8_t> k_;
  std::vector<uint8_t> v_;
};

}  // namespace mimo::kernels::test
