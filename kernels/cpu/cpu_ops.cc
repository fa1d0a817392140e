#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>

#include "base/check.h"
#include "kernels/cpu/context.h"
#include "kernels/cpu/rounding.h"
#include "kernels/cpu/sampler.h"
#include "kernels/cpu/select.h"
#include "kernels/ops.h"

namespace mimo::kernels {
namespace {

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};

// The operations on this machine's own cores and memory. A call's work is done when it returns.
class CpuOps final : public Ops {
 public:
  explicit CpuOps(const CpuOptions& options)
      : options_(options), context_(options.mode, options.num_threads) {}

  DType activation_dtype() const override { return DType::kF32; }
  DType cache_dtype() const override {
    return options_.mode == CpuMode::kF32 ? DType::kF32 : DType::kBf16;
  }
  Stream stream() const override { return {}; }

  Result<void*> allocate(int64_t bytes, Purpose purpose) override;
  Result<Linear> load_linear(const HostLinear& weight) override;
  Result<LinearStack> make_stack(const StackShape& shape) override;
  Result<void> load_into(const LinearStack& stack, int32_t i, const HostLinear& weight) override;
  Result<Rows> allocate_rows(int64_t num_rows, int32_t cols) override;
  Result<void> prepare(const StepLimits& limits) override;
  std::array<int64_t, kNumPurposes> bytes_by_purpose() const override { return bytes_; }
  void upload(void* to, const void* from_host, int64_t bytes) override {
    copy(to, from_host, bytes);
  }
  void download(void* to_host, const void* from, int64_t bytes) override {
    copy(to_host, from, bytes);
  }
  Result<void*> allocate_host(int64_t bytes) override { return zeroed(bytes, "the host"); }
  void upload_later(void* to, const void* from_host, int64_t bytes) override {
    copy(to, from_host, bytes);
  }
  void download_later(void* to_host, const void* from, int64_t bytes) override {
    copy(to_host, from, bytes);
  }
  Mark mark() override { return {++num_marks_}; }
  bool done(Mark mark) override { return mark.count <= num_marks_; }
  void wait(Mark mark) override { CHECK_LE(mark.count, num_marks_); }
  int32_t padded_rows(int32_t num_rows) const override { return num_rows; }
  int32_t steps_in_flight_max() const override { return 1; }
  Result<void> recorded(uint64_t, const std::function<Result<void>()>& body) override {
    return body();
  }
  void forget_recordings() override {}

  void embed(const EmbedParams& p) override { kernels::embed(context_, p); }
  void add_norm(const AddNormParams& p) override { kernels::add_norm(context_, p); }
  void qkv(const QkvParams& p) override { kernels::qkv(context_, p); }
  void attention(const AttentionParams& p) override { kernels::attention(context_, p); }
  void linear(const LinearParams& p) override { kernels::linear(context_, p); }
  void dense_ffn(const DenseFfnParams& p) override { kernels::dense_ffn(context_, p); }
  void route(const RouteParams& p) override { kernels::route(context_, p); }
  void experts(const ExpertsParams& p) override { kernels::experts(context_, p); }
  void gather_rows(const GatherRowsParams& p) override { kernels::gather_rows(context_, p); }

  void scatter(const ScatterParams& p) override { kernels::scatter(p); }

  void set_sampler(int32_t slot, const SamplerInit& init) override;
  void clear_sampler(int32_t slot) override;
  void sample(const SampleParams& p) override;
  void score(const ScoreParams& p) override;

 private:
  static void copy(void* to, const void* from, int64_t bytes) {
    if (bytes > 0) std::memcpy(to, from, static_cast<size_t>(bytes));
  }
  Result<void> reserve(int64_t bytes, Purpose purpose);
  Result<void*> zeroed(int64_t bytes, const char* what);

  const CpuOptions options_;
  CpuContext context_;
  int64_t num_marks_ = 0;
  std::array<int64_t, kNumPurposes> bytes_{};
  std::vector<std::unique_ptr<void, Free>> memory_;
  std::vector<std::unique_ptr<Sampler>> samplers_;  // by slot; null = none
};

// One row of gathered logits, its shards put side by side.
void join_row(const float* logits, int32_t num_shards, int32_t num_rows, int32_t shard_cols,
              int32_t row, std::vector<float>& out) {
  CHECK(row >= 0 && row < num_rows);
  const auto limit = static_cast<int64_t>(out.size());
  for (int32_t s = 0; s < num_shards; ++s) {
    const int64_t begin = int64_t{s} * shard_cols;
    const int64_t width = std::min<int64_t>(shard_cols, limit - begin);
    if (width <= 0) return;
    std::memcpy(out.data() + begin, logits + (int64_t{s} * num_rows + row) * shard_cols,
                sizeof(float) * static_cast<size_t>(width));
  }
}

// Buffers of the thread that runs: reused by every draw it makes.
SamplerBuffers& buffers_of(int32_t vocab_limit) {
  thread_local SamplerBuffers buffers;
  buffers.row.resize(static_cast<size_t>(vocab_limit));
  return buffers;
}

// The candidates' places of row i.
template <typename Params>
Listed listed_of(const Params& p, int64_t i) {
  Listed out;
  if (p.top != nullptr) out.top = {p.top + i * p.top_max, static_cast<size_t>(p.top_max)};
  if (p.full != nullptr) out.full = p.full + i * p.vocab_limit;
  return out;
}

std::span<const uint32_t> mask_of(const SampleParams& p, int64_t i) {
  const int32_t row = p.mask_rows == nullptr ? -1 : p.mask_rows[i];
  if (row < 0) return {};
  const auto words = static_cast<size_t>((p.vocab_limit + 31) / 32);
  return {p.masks + static_cast<size_t>(row) * words, words};
}

std::string shape_text(int64_t rows, int64_t cols, DType dtype, int32_t rows_per_scale) {
  std::string out = "[";
  out.append(std::to_string(rows)).append(", ").append(std::to_string(cols)).append("] ");
  out.append(dtype_name(dtype));
  if (dtype != DType::kF8E4m3) return out;
  out.append(" with a scale for ").append(std::to_string(rows_per_scale)).append(" rows");
  return out;
}

Result<void> check_shape(const StackShape& shape, const HostLinear& w) {
  const bool scaled = shape.dtype == DType::kF8E4m3;
  if (w.rows == shape.rows && w.cols == shape.cols && w.dtype == shape.dtype &&
      (!scaled || w.rows_per_scale == shape.rows_per_scale))
    return {};
  return Error{Code::kInvalidArgument,
               "weight " + shape_text(w.rows, w.cols, w.dtype, w.rows_per_scale) +
                   " in a stack of " +
                   shape_text(shape.rows, shape.cols, shape.dtype, shape.rows_per_scale)};
}

void check_shape(int32_t num_shards, int32_t shard_cols, int32_t vocab_limit) {
  CHECK(num_shards > 0 && shard_cols > 0);
  CHECK(vocab_limit > 0 && vocab_limit <= int64_t{num_shards} * shard_cols);
}

Result<void> CpuOps::reserve(int64_t bytes, Purpose purpose) {
  int64_t used = 0;
  for (const int64_t part : bytes_) used += part;
  if (options_.memory_bytes_max > 0 && used + bytes > options_.memory_bytes_max)
    return Error{Code::kResourceExhausted,
                 std::to_string(bytes) + " bytes for " + purpose_name(purpose) + " on top of " +
                     std::to_string(used) + " are more than the bound of " +
                     std::to_string(options_.memory_bytes_max)};
  bytes_[static_cast<size_t>(purpose)] += bytes;
  return {};
}

Result<void*> CpuOps::allocate(int64_t bytes, Purpose purpose) {
  CHECK_GE(bytes, 0);
  TRY(reserve(bytes, purpose));
  Result<void*> memory = zeroed(bytes, purpose_name(purpose));
  if (!memory.ok()) bytes_[static_cast<size_t>(purpose)] -= bytes;
  return memory;
}

Result<void*> CpuOps::zeroed(int64_t bytes, const char* what) {
  constexpr int64_t kAlign = 64;
  void* memory = std::calloc(static_cast<size_t>(bytes + kAlign), 1);
  if (memory == nullptr)
    return Error{Code::kResourceExhausted,
                 "the system has no " + std::to_string(bytes) + " bytes for " + what};
  memory_.emplace_back(memory);
  const auto address = reinterpret_cast<uintptr_t>(memory);
  return reinterpret_cast<void*>((address + kAlign - 1) / kAlign * kAlign);
}

Result<Linear> CpuOps::load_linear(const HostLinear& weight) {
  TRY_ASSIGN(PackedLinear packed, PackedLinear::pack(weight, options_.mode));
  TRY(reserve(PackedLinear::packed_bytes(weight, options_.mode), Purpose::kWeights));
  const Linear out{static_cast<int32_t>(context_.linears.size()), packed.rows(), packed.cols()};
  context_.linears.push_back(std::move(packed));
  return out;
}

Result<LinearStack> CpuOps::make_stack(const StackShape& shape) {
  if (shape.count < 0)
    return Error{Code::kInvalidArgument,
                 "stack: count " + std::to_string(shape.count) + ", expected 0 or more"};
  const HostLinear one{shape.dtype, shape.rows, shape.cols, {}, {}, shape.rows_per_scale};
  TRY(reserve(shape.count * PackedLinear::packed_bytes(one, options_.mode), Purpose::kWeights));
  const LinearStack out{static_cast<int32_t>(context_.stacks.size()), shape.count,
                        static_cast<int32_t>(shape.rows), static_cast<int32_t>(shape.cols)};
  context_.stacks.push_back({shape, std::vector<PackedLinear>(static_cast<size_t>(shape.count))});
  return out;
}

Result<void> CpuOps::load_into(const LinearStack& stack, int32_t i, const HostLinear& weight) {
  PackedStack& to = context_.stacks.at(static_cast<size_t>(stack.index));
  CHECK(i >= 0 && i < to.shape.count);
  TRY(check_shape(to.shape, weight));
  TRY_ASSIGN(to.weights[static_cast<size_t>(i)], PackedLinear::pack(weight, options_.mode));
  return {};
}

Result<Rows> CpuOps::allocate_rows(int64_t num_rows, int32_t cols) {
  Rows out;
  out.cols = cols;
  TRY_ASSIGN(out.values, allocate(num_rows * cols * 4, Purpose::kWorkspace));
  return out;
}

Result<void> CpuOps::prepare(const StepLimits& limits) {
  const int64_t tokens = limits.tokens_max;
  const int32_t ffn_cols = std::max(limits.dense_cols_max, limits.expert_cols_max);
  const int64_t inputs = std::max({limits.hidden, limits.attention_cols_max, ffn_cols});
  const int64_t groups = (inputs + 127) / 128;
  const int64_t outputs = std::max(limits.qkv_cols_max, 2 * ffn_cols);
  const int64_t choices = tokens * limits.experts_per_token;
  const int64_t floats =
      tokens * (3 * inputs + 3 * groups + outputs + ffn_cols + limits.hidden) + 2 * choices;
  TRY(reserve(floats * 4, Purpose::kWorkspace));
  Workspace& space = context_.workspace;
  grown(space.quantised, tokens * inputs);
  grown(space.quantised_2, tokens * inputs);
  grown(space.gathered, tokens * inputs);
  grown(space.scales, tokens * groups);
  grown(space.scales_2, tokens * groups);
  grown(space.gathered_scales, tokens * groups);
  grown(space.wide, tokens * outputs);
  grown(space.middle, tokens * ffn_cols);
  grown(space.result, tokens * limits.hidden);
  grown(space.assignments, choices);
  grown(space.assigned_weights, choices);
  samplers_.resize(std::max(samplers_.size(), static_cast<size_t>(limits.slots_max)));
  return {};
}

void CpuOps::set_sampler(int32_t slot, const SamplerInit& init) {
  CHECK_GE(slot, 0);
  if (slot >= static_cast<int32_t>(samplers_.size())) samplers_.resize(size_t{1} + slot);
  samplers_[slot] = std::make_unique<Sampler>(init);
}

void CpuOps::clear_sampler(int32_t slot) {
  CHECK(slot >= 0);
  if (slot < static_cast<int32_t>(samplers_.size())) samplers_[slot] = nullptr;
}

void CpuOps::sample(const SampleParams& p) {
  check_shape(p.num_shards, p.shard_cols, p.vocab_limit);
  CHECK(p.mask_rows == nullptr || (p.masks != nullptr && !p.plain_greedy));
  std::vector<bool> drawn(samplers_.size(), false);  // a second draw would not know of the first
  for (int32_t i = 0; i < p.num_draws; ++i) {
    const int32_t slot = p.slots[i];
    if (slot == -1) continue;
    CHECK(slot >= 0 && slot < static_cast<int32_t>(samplers_.size()));
    CHECK(samplers_[slot] != nullptr && !drawn[slot]);
    drawn[slot] = true;
  }
  context_.pool.run(p.num_draws, int64_t{p.num_draws} * p.vocab_limit * 20, [&](int64_t i) {
    const int32_t slot = p.slots[i];
    if (slot == -1) return;
    SamplerBuffers& buffers = buffers_of(p.vocab_limit);
    join_row(p.logits, p.num_shards, p.num_rows, p.shard_cols, p.rows[i], buffers.row);
    Sampler& sampler = *samplers_[slot];
    p.results[i] = sampler.choose(p.positions[i], mask_of(p, i), buffers, listed_of(p, i));
    if (p.results[i].finite != 0) sampler.count(p.results[i].id);
    if (p.last_tokens != nullptr) p.last_tokens[slot] = p.results[i].id;
  });
}

void CpuOps::score(const ScoreParams& p) {
  check_shape(p.num_shards, p.shard_cols, p.vocab_limit);
  context_.pool.run(p.num_scores, int64_t{p.num_scores} * p.vocab_limit * 20, [&](int64_t i) {
    SamplerBuffers& buffers = buffers_of(p.vocab_limit);
    join_row(p.logits, p.num_shards, p.num_rows, p.shard_cols, p.rows[i], buffers.row);
    CHECK(p.tokens[i] >= -1 && p.tokens[i] < p.vocab_limit);
    DrawResult result;
    result.id = p.tokens[i];
    const RowSummary summary = summarize(buffers.row);
    result.finite = summary.finite ? 1 : 0;
    if (summary.finite) {
      describe(buffers.row, summary.max, p.num_logprobs, p.raw_logits, buffers.weights,
               listed_of(p, i), result);
    }
    p.results[i] = result;
  });
}

}  // namespace

float CpuContext::stored(float x) const { return mode == CpuMode::kF32 ? x : round_bf16(x); }

const char* purpose_name(Purpose purpose) {
  constexpr const char* kNames[kNumPurposes] = {"weights",   "k",      "v",
                                                "workspace", "graphs", "transfer"};
  return kNames[static_cast<size_t>(purpose)];
}

Result<std::unique_ptr<Ops>> make_cpu_ops(const CpuOptions& options) {
  if (options.num_threads < 0 || options.num_threads > 1024)
    return Error{Code::kInvalidArgument,
                 "num_threads: " + std::to_string(options.num_threads) + ", expected 0 to 1024"};
  if (options.memory_bytes_max < 0)
    return Error{
        Code::kInvalidArgument,
        "memory_bytes_max: " + std::to_string(options.memory_bytes_max) + ", expected 0 or more"};
  return std::unique_ptr<Ops>(std::make_unique<CpuOps>(options));
}

}  // namespace mimo::kernels
