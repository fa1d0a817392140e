#pragma once

#include <algorithm>
#include <functional>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "kernels/cuda/cuda_ops.h"
#include "tests/kernels/cuda/cuda_support.h"

// The released model's operations, as a rank of four has them, on a step of some rows of which one
// is always the same.
namespace mimo::kernels::cuda::test {

constexpr int32_t kRowsMax = 2048;
constexpr int32_t kHidden = 4096;
constexpr int32_t kQueryHeads = 16;
constexpr int32_t kWindow = 128;
constexpr int32_t kQkvContext = 100;
constexpr int32_t kPageTokens = 64;
constexpr int32_t kTableStride = 160;
constexpr int32_t kPages = 700;
constexpr int32_t kExperts = 256;
constexpr int32_t kExpertsPerToken = 8;
constexpr int32_t kVocabRows = 38144;

using Bits = std::vector<uint8_t>;

// How many rows a step has, which of them is looked at, what that is, and what the others are.
struct Place {
  int32_t num_rows = 1;
  int32_t at = 0;
  uint32_t own = 0;
  uint32_t seed = 1;
};

class InvarianceCase {
 public:
  explicit InvarianceCase(bool batch_invariant)
      : ops_(make_cuda_ops({.random_pools = true, .batch_invariant = batch_invariant}).value()) {
    StepLimits limits;
    limits.tokens_max = kRowsMax;
    limits.runs_max = kRowsMax;
    limits.logits_rows_max = 256;
    limits.slots_max = 256;
    limits.hidden = kHidden;
    limits.qkv_cols_max = 3712;
    limits.attention_cols_max = kQueryHeads * 128;
    limits.q_heads_max = kQueryHeads;
    limits.v_dim_max = 128;
    limits.dense_cols_max = kHidden;
    limits.expert_cols_max = 512;
    limits.num_experts = kExperts;
    limits.experts_per_token = kExpertsPerToken;
    limits.num_local_experts = kExperts;
    limits.vocab_padded = 4 * kVocabRows;
    EXPECT_TRUE(ops_->prepare(limits).ok());
    x_ = array<uint16_t>(int64_t{kRowsMax} * kHidden);
    normed_ = ops_->allocate_rows(kRowsMax, kHidden).value();
    out_ = array<uint8_t>(int64_t{256} * kVocabRows * 4);
    ones_ = uploaded(std::vector<float>(kHidden, 1.0f));
    make_weights();
    make_tables();
  }

  Bits add_norm(const Place& place) {
    norm(place);
    const auto row = int64_t{place.at} * kHidden;
    Bits out = bytes(static_cast<uint16_t*>(normed_.values) + row, kHidden * 2);
    append(out, bytes(normed_.q + row, kHidden));
    append(out, bytes(normed_.q_scales + int64_t{place.at} * (kHidden / 128), kHidden / 128 * 4));
    return out;
  }

  Bits qkv(const Place& place, bool full) {
    norm(place);
    const Runs runs = this->runs(place, kQkvContext, 120);
    const PagedKv kv = this->kv(full);
    ops_->qkv({.x = normed_,
               .qkv = full ? full_qkv_ : window_qkv_,
               .num_q_heads = kQueryHeads,
               .rotary_dim = 64,
               .rope_theta = full ? 5e6 : 1e4,
               .value_scale = 0.707f,
               .runs = runs,
               .kv = kv,
               .q = out_});
    constexpr int32_t kQueryBytes = kQueryHeads * 192 * 2;
    Bits out = bytes(out_ + int64_t{place.at} * kQueryBytes, kQueryBytes);
    constexpr int32_t kPosition = kQkvContext - 1;
    const int32_t page =
        pages_[static_cast<size_t>(kRowsMax * kTableStride + kPosition / kPageTokens)];
    for (int32_t head = 0; head < kv.kv_heads; ++head) {
      const int64_t row =
          (int64_t{page} * kv.kv_heads + head) * kPageTokens + kPosition % kPageTokens;
      append(out, bytes(static_cast<uint16_t*>(kv.k) + row * 192, 192 * 2));
      append(out, bytes(static_cast<uint16_t*>(kv.v) + row * 128, 128 * 2));
    }
    return out;
  }

  Bits o_proj(const Place& place) {
    fill(x_, place, kQueryHeads * 128);
    ops_->linear({.x = x_, .w = o_proj_, .out = out_, .num_tokens = place.num_rows});
    return bytes(out_ + int64_t{place.at} * kHidden * 2, kHidden * 2);
  }

  Bits lm_head(const Place& place) {
    fill(x_, place, kHidden);
    ops_->linear(
        {.x = x_, .w = lm_head_, .out = out_, .out_f32 = true, .num_tokens = place.num_rows});
    return bytes(out_ + int64_t{place.at} * kVocabRows * 4, int64_t{kVocabRows} * 4);
  }

  Bits dense_ffn(const Place& place) {
    norm(place);
    ops_->dense_ffn({.x = normed_,
                     .gate_up = gate_up_,
                     .down = down_,
                     .out = out_,
                     .num_tokens = place.num_rows});
    return bytes(out_ + int64_t{place.at} * kHidden * 2, kHidden * 2);
  }

  Bits route(const Place& place) {
    norm(place);
    auto* const weights = reinterpret_cast<float*>(out_) + kRowsMax * kExpertsPerToken;
    ops_->route({.x = normed_.values,
                 .weight = router_,
                 .bias = router_bias_,
                 .hidden = kHidden,
                 .num_experts = kExperts,
                 .experts_per_token = kExpertsPerToken,
                 .expert_ids = reinterpret_cast<int32_t*>(out_),
                 .expert_weights = weights,
                 .num_tokens = place.num_rows});
    constexpr int32_t kBytes = kExpertsPerToken * 4;
    Bits out = bytes(out_ + int64_t{place.at} * kBytes, kBytes);
    append(out, bytes(weights + int64_t{place.at} * kExpertsPerToken, kBytes));
    return out;
  }

  Bits experts(const Place& place) {
    norm(place);
    std::mt19937 neighbours(place.seed);
    std::vector<int32_t> ids;
    std::vector<float> weights;
    for (int32_t t = 0; t < place.num_rows; ++t) {
      std::mt19937 own(place.own);
      std::mt19937& generator = t == place.at ? own : neighbours;
      std::vector<int32_t> all(kExperts);
      std::iota(all.begin(), all.end(), 0);
      std::shuffle(all.begin(), all.end(), generator);
      ids.insert(ids.end(), all.begin(), all.begin() + kExpertsPerToken);
      for (int32_t k = 0; k < kExpertsPerToken; ++k) {
        weights.push_back(0.05f + static_cast<float>(generator() % 1000) / 5000.0f);
      }
    }
    ops_->upload(ids_, ids.data(), static_cast<int64_t>(ids.size()) * 4);
    ops_->upload(id_weights_, weights.data(), static_cast<int64_t>(weights.size()) * 4);
    ops_->experts({.x = normed_,
                   .experts = &experts_,
                   .expert_ids = ids_,
                   .expert_weights = id_weights_,
                   .experts_per_token = kExpertsPerToken,
                   .out = out_,
                   .num_tokens = place.num_rows});
    return bytes(out_ + int64_t{place.at} * kHidden * 2, kHidden * 2);
  }

  Bits attention(const Place& place, bool full, int32_t context) {
    fill(x_, place, kQueryHeads * 192);
    const Runs runs = this->runs(place, context, 9000);
    ops_->attention({.q = x_,
                     .num_q_heads = kQueryHeads,
                     .runs = runs,
                     .kv = kv(full),
                     .window = full ? 0 : kWindow,
                     .sinks = full ? nullptr : sinks_,
                     .scale = 0.0721688f,
                     .out = out_});
    constexpr int32_t kBytes = kQueryHeads * 128 * 2;
    return bytes(out_ + int64_t{place.at} * kBytes, kBytes);
  }

 private:
  template <typename T>
  T* array(int64_t count, Purpose purpose = Purpose::kWorkspace) {
    return static_cast<T*>(ops_->allocate(count * int64_t{sizeof(T)}, purpose).value());
  }
  template <typename T>
  T* uploaded(const std::vector<T>& values) {
    T* const out = array<T>(static_cast<int64_t>(values.size()));
    ops_->upload(out, values.data(), static_cast<int64_t>(values.size() * sizeof(T)));
    return out;
  }
  Bits bytes(const void* from, int64_t count) {
    Bits out(static_cast<size_t>(count));
    ops_->download(out.data(), from, count);
    return out;
  }
  static void append(Bits& to, const Bits& more) { to.insert(to.end(), more.begin(), more.end()); }

  void make_weights() {
    const auto fp8 = [&](int64_t rows, int64_t cols, int32_t rows_per_scale, uint64_t seed) {
      return ops_->random_linear(DType::kF8E4m3, rows, cols, rows_per_scale, seed).value();
    };
    full_qkv_ = fp8(3392, kHidden, 64, 1);
    window_qkv_ = fp8(3712, kHidden, 64, 2);
    gate_up_ = fp8(2 * kHidden, kHidden, 128, 3);
    down_ = fp8(kHidden, kHidden, 128, 4);
    o_proj_ = ops_->random_linear(DType::kBf16, kHidden, kQueryHeads * 128, 128, 5).value();
    lm_head_ = ops_->random_linear(DType::kBf16, kVocabRows, kHidden, 128, 6).value();
    experts_.gate_up =
        ops_->random_stack({kExperts, DType::kF8E4m3, 1024, kHidden, 128}, 7).value();
    experts_.down = ops_->random_stack({kExperts, DType::kF8E4m3, kHidden, 512, 128}, 8).value();
    router_ = ops_->random_floats(int64_t{kExperts} * kHidden, 0.02f, 9).value();
    router_bias_ = ops_->random_floats(kExperts, 0.1f, 10).value();
    sinks_ = ops_->random_floats(kQueryHeads, 1.0f, 11).value();
    ids_ = array<int32_t>(kRowsMax * kExpertsPerToken);
    id_weights_ = array<float>(kRowsMax * kExpertsPerToken);
  }

  // Row kRowsMax of the tables is the row's that is looked at; the others share pages among them.
  void make_tables() {
    std::mt19937 generator(12);
    for (int32_t i = 0; i < kRowsMax * kTableStride; ++i) {
      pages_.push_back(kTableStride + static_cast<int32_t>(generator() % (kPages - kTableStride)));
    }
    for (int32_t i = 0; i < kTableStride; ++i) pages_.push_back(i);
    device_pages_ = uploaded(pages_);
    for (const int32_t heads : {1, 2}) {
      const int64_t rows = int64_t{kPages} * heads * kPageTokens;
      k_[heads - 1] = array<uint16_t>(rows * 192, Purpose::kK);
      v_[heads - 1] = array<uint16_t>(rows * 128, Purpose::kV);
    }
    for (int32_t** list : {&row_begin_, &context_, &row_run_, &slot_}) {
      *list = array<int32_t>(kRowsMax + 1);
    }
  }

  // One row a run, each of its own length.
  Runs runs(const Place& place, int32_t context, int32_t longest) {
    std::mt19937 generator(place.seed);
    const int32_t n = place.num_rows;
    std::vector<int32_t> row_begin(static_cast<size_t>(n + 1));
    std::iota(row_begin.begin(), row_begin.end(), 0);
    std::vector<int32_t> contexts;
    std::vector<int32_t> slots;
    for (int32_t s = 0; s < n; ++s) {
      const auto other = 1 + static_cast<int32_t>(generator() % static_cast<uint32_t>(longest));
      contexts.push_back(s == place.at ? context : other);
      slots.push_back(s == place.at ? kRowsMax : s);
    }
    ops_->upload(row_begin_, row_begin.data(), (n + 1) * 4);
    ops_->upload(row_run_, row_begin.data(), n * 4);
    ops_->upload(context_, contexts.data(), n * 4);
    ops_->upload(slot_, slots.data(), n * 4);
    return {n, n, row_begin_, context_, row_run_, slot_, 1};
  }
  PagedKv kv(bool full) const {
    const size_t heads = full ? 1 : 2;
    PagedKv out;
    out.k = k_[heads - 1];
    out.v = v_[heads - 1];
    out.kv_heads = static_cast<int32_t>(heads);
    out.k_dim = 192;
    out.v_dim = 128;
    out.page_tokens = kPageTokens;
    out.pages = device_pages_;
    out.stride = kTableStride;
    return out;
  }

  // [num_rows, cols] of normal deviates.
  void fill(uint16_t* to, const Place& place, int32_t cols) {
    ops_->fill_normal_bf16(to, int64_t{place.num_rows} * cols, 1.0f, 1000 + place.seed);
    ops_->fill_normal_bf16(to + int64_t{place.at} * cols, cols, 1.0f, place.own);
  }
  void norm(const Place& place) {
    fill(x_, place, kHidden);
    ops_->add_norm({.residual = x_,
                    .delta = nullptr,
                    .weight = ones_,
                    .out = normed_,
                    .eps = 1e-5f,
                    .num_tokens = place.num_rows});
  }

  const std::unique_ptr<CudaOps> ops_;
  uint16_t* x_ = nullptr;
  Rows normed_;
  uint8_t* out_ = nullptr;
  float* ones_ = nullptr;
  Linear full_qkv_, window_qkv_, gate_up_, down_, o_proj_, lm_head_;
  ExpertWeights experts_;
  float* router_ = nullptr;
  float* router_bias_ = nullptr;
  float* sinks_ = nullptr;
  int32_t* ids_ = nullptr;
  float* id_weights_ = nullptr;
  std::vector<int32_t> pages_;
  int32_t* device_pages_ = nullptr;
  uint16_t* k_[2] = {};
  uint16_t* v_[2] = {};
  int32_t* row_begin_ = nullptr;
  int32_t* context_ = nullptr;
  int32_t* row_run_ = nullptr;
  int32_t* slot_ = nullptr;
};

}  // namespace mimo::kernels::cuda::test
