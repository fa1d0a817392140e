#include "lockstep_ops.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "forward_ops.h"
#include "lockstep_choices.h"
#include "lockstep_mirror.h"

namespace mimo::node::model_test {
namespace {

using kernels::Purpose;
using kernels::Runs;

std::span<const float> floats(const void* values, int64_t count) {
  return {static_cast<const float*>(values), static_cast<size_t>(count)};
}

std::vector<float> bf16_floats(std::span<const uint16_t> bits) {
  std::vector<float> out;
  for (const uint16_t x : bits) out.push_back(bf16_to_float(x));
  return out;
}

class LockstepOps final : public ForwardOps {
 public:
  LockstepOps(std::unique_ptr<kernels::Ops> first, std::unique_ptr<kernels::Ops> second,
              Lockstep& report)
      : ForwardOps(std::move(first)),
        second_(std::move(second)),
        mirror_(*second_),
        report_(report) {}

  Result<void*> allocate(int64_t bytes, Purpose purpose) override {
    TRY_ASSIGN(void* const memory, ops_->allocate(bytes, purpose));
    TRY(mirror_.add(memory, bytes, purpose));
    if (purpose == Purpose::kK || purpose == Purpose::kV) {
      std::memset(memory, 0xff, static_cast<size_t>(bytes));
      mirror_.copied(static_cast<uint8_t*>(memory));
    }
    return memory;
  }
  Result<kernels::Rows> allocate_rows(int64_t num_rows, int32_t cols) override {
    TRY_ASSIGN(const kernels::Rows rows, ops_->allocate_rows(num_rows, cols));
    TRY(mirror_.add_rows(rows, num_rows));
    return rows;
  }
  Result<kernels::Linear> load_linear(const kernels::HostLinear& weight) override {
    TRY_ASSIGN(const kernels::Linear linear, ops_->load_linear(weight));
    TRY_ASSIGN(const kernels::Linear other, second_->load_linear(weight));
    linears_[linear.index] = {other, weight.dtype};
    return linear;
  }
  Result<kernels::LinearStack> make_stack(const kernels::StackShape& shape) override {
    TRY_ASSIGN(const kernels::LinearStack stack, ops_->make_stack(shape));
    TRY_ASSIGN(const kernels::LinearStack other, second_->make_stack(shape));
    stacks_[stack.index] = {other, shape.dtype};
    return stack;
  }
  Result<void> load_into(const kernels::LinearStack& stack, int32_t i,
                         const kernels::HostLinear& weight) override {
    TRY(ops_->load_into(stack, i, weight));
    return second_->load_into(stacks_.at(stack.index).first, i, weight);
  }
  Result<void> prepare(const kernels::StepLimits& limits) override {
    TRY(ops_->prepare(limits));
    return second_->prepare(limits);
  }
  int32_t padded_rows(int32_t num_rows) const override { return second_->padded_rows(num_rows); }

  void embed(const kernels::EmbedParams& p) override;
  void add_norm(const kernels::AddNormParams& p) override;
  void qkv(const kernels::QkvParams& p) override;
  void attention(const kernels::AttentionParams& p) override;
  void linear(const kernels::LinearParams& p) override;
  void dense_ffn(const kernels::DenseFfnParams& p) override;
  void route(const kernels::RouteParams& p) override;
  void experts(const kernels::ExpertsParams& p) override;
  void gather_rows(const kernels::GatherRowsParams& p) override;
  void scatter(const kernels::ScatterParams& p) override;
  void set_sampler(int32_t slot, const kernels::SamplerInit& init) override {
    ops_->set_sampler(slot, init);
    second_->set_sampler(slot, init);
  }
  void clear_sampler(int32_t slot) override {
    ops_->clear_sampler(slot);
    second_->clear_sampler(slot);
  }
  void sample(const kernels::SampleParams& p) override;
  void score(const kernels::ScoreParams& p) override;

 private:
  std::string named(const char* op, DType dtype) const {
    return std::string(op) + " " + dtype_name(dtype);
  }
  Runs runs(const Runs& p) const {
    Runs out = p;
    out.row_begin = mirror_.copied(p.row_begin, p.num_runs + 1);
    out.context = mirror_.copied(p.context, p.num_runs);
    out.row_run = mirror_.copied(p.row_run, p.num_tokens);
    out.slot = mirror_.copied(p.slot, p.num_runs);
    return out;
  }
  kernels::PagedKv paged(const kernels::PagedKv& p) const {
    CHECK(p.k_dtype == DType::kBf16 && p.v_dtype == DType::kBf16);
    kernels::PagedKv out = p;
    out.k = mirror_.place(p.k);
    out.v = mirror_.place(p.v);
    out.pages = mirror_.copied(p.pages);
    return out;
  }
  // Activations that both have computed.
  void compare(const std::string& op, const void* out, int64_t num_rows, int64_t cols) {
    report_[op].add_call(mirror_.read_activations(out, num_rows * cols),
                         floats(out, num_rows * cols), cols);
  }
  void compare_exactly(const std::string& op, const void* out, int64_t count) {
    const std::vector<float> got = mirror_.read_activations(out, count);
    OpErrors& errors = report_[op];
    errors.add_call(got, floats(out, count), count);
    errors.add_equal(std::memcmp(got.data(), out, got.size() * sizeof(float)) == 0, "a value");
  }
  // The pages that the step's rows were written to: written rows are compared, all else must be
  // what it was; then the first's pages are the second's.
  void compare_cache(const std::string& op, const kernels::QkvParams& p);
  void compare_queries(const std::string& op, const kernels::QkvParams& p, int64_t cols);
  void compare_pages(const std::string& op, void* pool, int32_t dim, const kernels::PagedKv& kv,
                     const std::set<std::pair<int32_t, int32_t>>& written);

  const std::unique_ptr<kernels::Ops> second_;
  LockstepMirror mirror_;
  Lockstep& report_;
  std::map<int32_t, std::pair<kernels::Linear, DType>> linears_;  // by the first's index
  std::map<int32_t, std::pair<kernels::LinearStack, DType>> stacks_;
};

void LockstepOps::embed(const kernels::EmbedParams& p) {
  kernels::EmbedParams q = p;
  q.ids = mirror_.copied(p.ids, p.num_tokens);
  q.last_tokens = mirror_.copied(p.last_tokens);
  q.table = linears_.at(p.table.index).first;
  q.out = mirror_.poisoned_activations(p.out, int64_t{p.num_tokens} * p.table.cols);
  second_->embed(q);
  ops_->embed(p);
  compare_exactly("embed", p.out, int64_t{p.num_tokens} * p.table.cols);
}

void LockstepOps::add_norm(const kernels::AddNormParams& p) {
  const int64_t count = int64_t{p.num_tokens} * p.out.cols;
  kernels::AddNormParams q = p;
  q.residual = mirror_.activations(p.residual, count);
  q.delta = mirror_.activations(p.delta, count);
  q.weight = mirror_.copied(p.weight);
  q.out = mirror_.poisoned_rows(p.out, p.num_tokens);
  const bool apart = p.delta != nullptr && p.residual_out != nullptr;
  q.residual_out = apart ? mirror_.poisoned_activations(p.residual_out, count) : nullptr;
  second_->add_norm(q);
  ops_->add_norm(p);
  compare_exactly("add_norm residual", apart ? p.residual_out : p.residual, count);
  compare("add_norm", p.out.values, p.num_tokens, p.out.cols);
  const bool own =
      mirror_.fp8_copy_is_its_own(p.out, mirror_.read_activations(p.out.values, count));
  report_["add_norm"].add_equal(own, "the FP8 copy");
}

void LockstepOps::compare_pages(const std::string& op, void* pool, int32_t dim,
                                const kernels::PagedKv& kv,
                                const std::set<std::pair<int32_t, int32_t>>& written) {
  const int64_t page_values = int64_t{kv.kv_heads} * kv.page_tokens * dim;
  std::vector<float> out;
  std::vector<float> want;
  std::set<int32_t> pages;
  for (const auto& [page, offset] : written) pages.insert(page);
  for (const int32_t page : pages) {
    auto* const first = static_cast<uint16_t*>(pool) + page * page_values;
    std::vector<uint16_t> second = mirror_.read(first, page_values);
    for (int64_t row = 0; row < page_values / dim; ++row) {
      const auto begin = static_cast<size_t>(row * dim);
      const auto size = static_cast<size_t>(dim);
      const std::span<uint16_t> own = std::span(second).subspan(begin, size);
      const std::span<const uint16_t> other(first + begin, size);
      if (written.count({page, static_cast<int32_t>(row % kv.page_tokens)}) == 0) {
        report_[op].add_equal(std::equal(own.begin(), own.end(), other.begin()),
                              "an entry of no row in page " + std::to_string(page));
        continue;
      }
      for (const float x : bf16_floats(own)) out.push_back(x);
      for (const float x : bf16_floats(other)) want.push_back(x);
    }
    mirror_.copied(first, page_values);
  }
  report_[op].add_call(out, want, dim);
}

void LockstepOps::compare_cache(const std::string& op, const kernels::QkvParams& p) {
  std::set<std::pair<int32_t, int32_t>> written;  // page, position in it
  for (int32_t row = 0; row < p.runs.num_tokens; ++row) {
    const int32_t run = p.runs.row_run[row];
    if (p.runs.context[run] == 0) continue;
    const int32_t position = p.runs.context[run] - (p.runs.row_begin[run + 1] - row);
    const int32_t table_row = p.runs.slot != nullptr ? p.runs.slot[run] : run;
    const int32_t entry = position / p.kv.page_tokens % p.kv.stride;
    written.insert(
        {p.kv.pages[int64_t{table_row} * p.kv.stride + entry], position % p.kv.page_tokens});
  }
  compare_pages(op + " k", p.kv.k, p.kv.k_dim, p.kv, written);
  compare_pages(op + " v", p.kv.v, p.kv.v_dim, p.kv, written);
}

// A padding row's may be anything: its attention is zero whatever it holds.
void LockstepOps::compare_queries(const std::string& op, const kernels::QkvParams& p,
                                  int64_t cols) {
  const std::vector<float> all = mirror_.read_activations(p.q, p.runs.num_tokens * cols);
  std::vector<float> out;
  std::vector<float> want;
  for (int32_t row = 0; row < p.runs.num_tokens; ++row) {
    if (p.runs.context[p.runs.row_run[row]] == 0) continue;
    const auto own = all.begin() + row * cols;
    out.insert(out.end(), own, own + cols);
    const float* const first = static_cast<const float*>(p.q) + row * cols;
    want.insert(want.end(), first, first + cols);
  }
  report_[op].add_call(out, want, cols);
}

void LockstepOps::qkv(const kernels::QkvParams& p) {
  const auto& [weight, dtype] = linears_.at(p.qkv.index);
  const int64_t q_cols = int64_t{p.num_q_heads} * p.kv.k_dim;
  kernels::QkvParams q = p;
  q.x = mirror_.rows(p.x, p.runs.num_tokens);
  q.qkv = weight;
  q.runs = runs(p.runs);
  q.kv = paged(p.kv);
  q.q = mirror_.poisoned_activations(p.q, p.runs.num_tokens * q_cols);
  second_->qkv(q);
  ops_->qkv(p);
  const std::string op = named("qkv", dtype);
  compare_queries(op + " q", p, q_cols);
  compare_cache(op, p);
}

void LockstepOps::attention(const kernels::AttentionParams& p) {
  const int64_t q_cols = int64_t{p.num_q_heads} * p.kv.k_dim;
  const int64_t out_cols = int64_t{p.num_q_heads} * p.kv.v_dim;
  kernels::AttentionParams q = p;
  q.q = mirror_.activations(p.q, p.runs.num_tokens * q_cols);
  q.runs = runs(p.runs);
  q.kv = paged(p.kv);
  q.sinks = mirror_.copied(p.sinks);
  q.out = mirror_.poisoned_activations(p.out, p.runs.num_tokens * out_cols);
  second_->attention(q);
  ops_->attention(p);
  compare("attention", p.out, p.runs.num_tokens, out_cols);
}

void LockstepOps::linear(const kernels::LinearParams& p) {
  const auto& [weight, dtype] = linears_.at(p.w.index);
  const int64_t size = int64_t{p.num_tokens} * p.w.rows;
  kernels::LinearParams q = p;
  q.x = mirror_.activations(p.x, int64_t{p.num_tokens} * p.w.cols);
  q.w = weight;
  q.out = p.out_f32 ? mirror_.poisoned(static_cast<float*>(p.out), size)
                    : mirror_.poisoned_activations(p.out, size);
  second_->linear(q);
  ops_->linear(p);
  if (!p.out_f32) return compare(named("linear", dtype), p.out, p.num_tokens, p.w.rows);
  report_[named("logits", dtype)].add_call(mirror_.read(static_cast<const float*>(p.out), size),
                                           floats(p.out, size), p.w.rows);
}

void LockstepOps::dense_ffn(const kernels::DenseFfnParams& p) {
  const auto& [gate_up, dtype] = linears_.at(p.gate_up.index);
  kernels::DenseFfnParams q = p;
  q.x = mirror_.rows(p.x, p.num_tokens);
  q.gate_up = gate_up;
  q.down = linears_.at(p.down.index).first;
  q.out = mirror_.poisoned_activations(p.out, int64_t{p.num_tokens} * p.x.cols);
  second_->dense_ffn(q);
  ops_->dense_ffn(p);
  compare(named("dense_ffn", dtype), p.out, p.num_tokens, p.x.cols);
}

void LockstepOps::route(const kernels::RouteParams& p) {
  const int64_t choices = int64_t{p.num_tokens} * p.experts_per_token;
  kernels::RouteParams q = p;
  q.x = mirror_.activations(p.x, int64_t{p.num_tokens} * p.hidden);
  q.weight = mirror_.copied(p.weight);
  q.bias = mirror_.copied(p.bias);
  q.runs = runs(p.runs);
  q.expert_ids = mirror_.poisoned(p.expert_ids, choices);
  q.expert_weights = mirror_.poisoned(p.expert_weights, choices);
  q.experts = nullptr;
  second_->route(q);
  ops_->route(p);
  compare_routes(p, mirror_.read(p.expert_ids, choices), mirror_.read(p.expert_weights, choices),
                 report_["route"]);
}

void LockstepOps::experts(const kernels::ExpertsParams& p) {
  const int64_t choices = int64_t{p.num_tokens} * p.experts_per_token;
  const auto& [gate_up, dtype] = stacks_.at(p.experts->gate_up.index);
  const kernels::ExpertWeights weights{p.experts->first, gate_up,
                                       stacks_.at(p.experts->down.index).first};
  kernels::ExpertsParams q = p;
  q.x = mirror_.rows(p.x, p.num_tokens);
  q.experts = &weights;
  q.expert_ids = mirror_.copied(p.expert_ids, choices);
  q.expert_weights = mirror_.copied(p.expert_weights, choices);
  q.out = mirror_.poisoned_activations(p.out, int64_t{p.num_tokens} * p.x.cols);
  second_->experts(q);
  ops_->experts(p);
  compare(named("experts", dtype), p.out, p.num_tokens, p.x.cols);
}

void LockstepOps::gather_rows(const kernels::GatherRowsParams& p) {
  if (p.num_rows == 0) return;
  const int64_t num_in = *std::max_element(p.rows, p.rows + p.num_rows) + 1;
  kernels::GatherRowsParams q = p;
  q.in = mirror_.activations(p.in, num_in * p.cols);
  q.rows = mirror_.copied(p.rows, p.num_rows);
  q.out = mirror_.poisoned_activations(p.out, int64_t{p.num_rows} * p.cols);
  second_->gather_rows(q);
  ops_->gather_rows(p);
  compare_exactly("gather_rows", p.out, int64_t{p.num_rows} * p.cols);
}

void LockstepOps::scatter(const kernels::ScatterParams& p) {
  kernels::ScatterParams q = p;
  q.table = mirror_.copied(p.table);
  q.at = mirror_.copied(p.at, p.count);
  q.values = mirror_.copied(p.values, p.count);
  second_->scatter(q);
  ops_->scatter(p);
  for (int32_t i = 0; i < p.count; ++i) {
    const bool equal = mirror_.read(p.table + p.at[i], 1)[0] == p.values[i];
    report_["scatter"].add_equal(equal, "entry " + std::to_string(p.at[i]));
  }
}

void LockstepOps::sample(const kernels::SampleParams& p) {
  const int64_t num_logits = int64_t{p.num_shards} * p.num_rows * p.shard_cols;
  kernels::SampleParams q = p;
  q.logits = mirror_.copied(p.logits, num_logits);
  q.rows = mirror_.copied(p.rows, p.num_draws);
  q.slots = mirror_.copied(p.slots, p.num_draws);
  q.positions = mirror_.copied(p.positions, p.num_draws);
  q.last_tokens = mirror_.copied(p.last_tokens);
  q.results = mirror_.poisoned(p.results, p.num_draws);
  q.top = mirror_.place(p.top);
  q.full = mirror_.place(p.full);
  second_->sample(q);
  ops_->sample(p);
  const auto results = mirror_.read(p.results, p.num_draws);
  for (int32_t n = 0; n < p.num_draws; ++n) {
    if (p.slots[n] == -1) continue;
    compare_choice(p.results[n], results[static_cast<size_t>(n)], report_["sample"]);
    const int32_t* const drawn = p.last_tokens + p.slots[n];
    report_["sample"].add_equal(mirror_.read(drawn, 1)[0] == *drawn, "the slot's last token");
  }
  if (p.full == nullptr) return;
  compare_full(p.full, mirror_.read(p.full, int64_t{p.num_draws} * p.vocab_limit), p.vocab_limit,
               report_["sample full"]);
}

void LockstepOps::score(const kernels::ScoreParams& p) {
  const int64_t num_logits = int64_t{p.num_shards} * p.num_rows * p.shard_cols;
  kernels::ScoreParams q = p;
  q.logits = mirror_.copied(p.logits, num_logits);
  q.rows = mirror_.copied(p.rows, p.num_scores);
  q.tokens = mirror_.copied(p.tokens, p.num_scores);
  q.results = mirror_.poisoned(p.results, p.num_scores);
  q.top = mirror_.place(p.top);
  q.full = mirror_.place(p.full);
  second_->score(q);
  ops_->score(p);
  const auto results = mirror_.read(p.results, p.num_scores);
  for (int32_t n = 0; n < p.num_scores; ++n) {
    compare_choice(p.results[n], results[static_cast<size_t>(n)], report_["score"]);
  }
  if (p.full == nullptr) return;
  compare_full(p.full, mirror_.read(p.full, int64_t{p.num_scores} * p.vocab_limit), p.vocab_limit,
               report_["score full"]);
}

}  // namespace

std::unique_ptr<kernels::Ops> make_lockstep_ops(std::unique_ptr<kernels::Ops> first,
                                                std::unique_ptr<kernels::Ops> second,
                                                Lockstep& report) {
  return std::make_unique<LockstepOps>(std::move(first), std::move(second), report);
}

}  // namespace mimo::node::model_test
