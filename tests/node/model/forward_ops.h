#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "kernels/ops.h"

namespace mimo::node::model_test {

// Another backend, call for call; what a test changes it overrides.
class ForwardOps : public kernels::Ops {
 public:
  explicit ForwardOps(std::unique_ptr<kernels::Ops> ops) : ops_(std::move(ops)) {}

  DType activation_dtype() const override { return ops_->activation_dtype(); }
  DType cache_dtype() const override { return ops_->cache_dtype(); }
  Stream stream() const override { return ops_->stream(); }
  Result<void*> allocate(int64_t bytes, kernels::Purpose purpose) override {
    return ops_->allocate(bytes, purpose);
  }
  Result<kernels::Linear> load_linear(const kernels::HostLinear& weight) override {
    return ops_->load_linear(weight);
  }
  Result<kernels::LinearStack> make_stack(const kernels::StackShape& shape) override {
    return ops_->make_stack(shape);
  }
  Result<void> load_into(const kernels::LinearStack& stack, int32_t i,
                         const kernels::HostLinear& weight) override {
    return ops_->load_into(stack, i, weight);
  }
  Result<kernels::Rows> allocate_rows(int64_t num_rows, int32_t cols) override {
    return ops_->allocate_rows(num_rows, cols);
  }
  Result<void> prepare(const kernels::StepLimits& limits) override { return ops_->prepare(limits); }
  std::array<int64_t, kernels::kNumPurposes> bytes_by_purpose() const override {
    return ops_->bytes_by_purpose();
  }
  void upload(void* to, const void* from_host, int64_t bytes) override {
    ops_->upload(to, from_host, bytes);
  }
  void download(void* to_host, const void* from, int64_t bytes) override {
    ops_->download(to_host, from, bytes);
  }
  Result<void*> allocate_host(int64_t bytes) override { return ops_->allocate_host(bytes); }
  void upload_later(void* to, const void* from_host, int64_t bytes) override {
    ops_->upload_later(to, from_host, bytes);
  }
  void download_later(void* to_host, const void* from, int64_t bytes) override {
    ops_->download_later(to_host, from, bytes);
  }
  kernels::Mark mark() override { return ops_->mark(); }
  bool done(kernels::Mark mark) override { return ops_->done(mark); }
  void wait(kernels::Mark mark) override { ops_->wait(mark); }
  int32_t padded_rows(int32_t num_rows) const override { return ops_->padded_rows(num_rows); }
  int32_t steps_in_flight_max() const override { return ops_->steps_in_flight_max(); }
  Result<void> recorded(uint64_t key, const std::function<Result<void>()>& body) override {
    return ops_->recorded(key, body);
  }
  void forget_recordings() override { ops_->forget_recordings(); }

  void embed(const kernels::EmbedParams& p) override { ops_->embed(p); }
  void add_norm(const kernels::AddNormParams& p) override { ops_->add_norm(p); }
  void qkv(const kernels::QkvParams& p) override { ops_->qkv(p); }
  void attention(const kernels::AttentionParams& p) override { ops_->attention(p); }
  void linear(const kernels::LinearParams& p) override { ops_->linear(p); }
  void dense_ffn(const kernels::DenseFfnParams& p) override { ops_->dense_ffn(p); }
  void route(const kernels::RouteParams& p) override { ops_->route(p); }
  void experts(const kernels::ExpertsParams& p) override { ops_->experts(p); }
  void gather_rows(const kernels::GatherRowsParams& p) override { ops_->gather_rows(p); }
  void scatter(const kernels::ScatterParams& p) override { ops_->scatter(p); }
  void set_sampler(int32_t slot, const kernels::SamplerInit& init) override {
    ops_->set_sampler(slot, init);
  }
  void clear_sampler(int32_t slot) override { ops_->clear_sampler(slot); }
  void sample(const kernels::SampleParams& p) override { ops_->sample(p); }
  void score(const kernels::ScoreParams& p) override { ops_->score(p); }

 protected:
  const std::unique_ptr<kernels::Ops> ops_;
};

}  // namespace mimo::node::model_test
