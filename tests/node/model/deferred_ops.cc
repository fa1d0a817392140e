#include "deferred_ops.h"

#include <deque>
#include <map>
#include <string>
#include <utility>

#include "base/check.h"
#include "forward_ops.h"

namespace mimo::node::model_test {
namespace {

using kernels::Mark;

class DeferredOps final : public ForwardOps {
 public:
  DeferredOps(std::unique_ptr<kernels::Ops> ops, DeferredCounts& counts)
      : ForwardOps(std::move(ops)), counts_(counts) {}

  void upload(void* to, const void* from_host, int64_t bytes) override {
    do_until(num_queued_);
    ops_->upload(to, from_host, bytes);
  }
  void download(void* to_host, const void* from, int64_t bytes) override {
    do_until(num_queued_);
    ops_->download(to_host, from, bytes);
  }
  void upload_later(void* to, const void* from_host, int64_t bytes) override {
    CHECK(!recording_);
    queue([=, this] { ops_->upload_later(to, from_host, bytes); });
  }
  void download_later(void* to_host, const void* from, int64_t bytes) override {
    CHECK(!recording_);
    queue([=, this] { ops_->download_later(to_host, from, bytes); });
  }
  Mark mark() override { return {num_queued_}; }
  bool done(Mark mark) override { return mark.count <= num_done_; }
  void wait(Mark mark) override { do_until(mark.count); }

  int32_t padded_rows(int32_t num_rows) const override { return (num_rows + 3) / 4 * 4; }
  int32_t steps_in_flight_max() const override { return 2; }
  Result<void> recorded(uint64_t key, const std::function<Result<void>()>& body) override {
    auto record = records_.find(key);
    if (record == records_.end()) {
      CHECK(!recording_);
      recording_ = true;
      const auto ran = body();
      recording_ = false;
      std::vector<Call> calls = std::exchange(recorded_, {});
      if (!ran.ok()) return ran;
      ++counts_.num_recorded;
      record = records_.emplace(key, std::move(calls)).first;
    } else {
      ++counts_.num_replayed;
    }
    for (const Call& call : record->second) queue(call);
    return {};
  }
  void forget_recordings() override { records_.clear(); }

  void embed(const kernels::EmbedParams& p) override {
    queue([=, this] { ops_->embed(p); });
  }
  void add_norm(const kernels::AddNormParams& p) override {
    queue([=, this] { ops_->add_norm(p); });
  }
  void qkv(const kernels::QkvParams& p) override {
    queue([=, this] { ops_->qkv(p); });
  }
  void attention(const kernels::AttentionParams& p) override {
    queue([=, this] { ops_->attention(p); });
  }
  void linear(const kernels::LinearParams& p) override {
    queue([=, this] { ops_->linear(p); });
  }
  void dense_ffn(const kernels::DenseFfnParams& p) override {
    queue([=, this] { ops_->dense_ffn(p); });
  }
  void route(const kernels::RouteParams& p) override {
    queue([=, this] { ops_->route(p); });
  }
  void experts(const kernels::ExpertsParams& p) override {
    queue([=, this] { ops_->experts(p); });
  }
  void gather_rows(const kernels::GatherRowsParams& p) override {
    queue([=, this] { ops_->gather_rows(p); });
  }
  void scatter(const kernels::ScatterParams& p) override {
    queue([=, this] { ops_->scatter(p); });
  }
  void set_sampler(int32_t slot, const kernels::SamplerInit& init) override {
    const std::vector<int32_t> tokens(init.tokens.begin(), init.tokens.end());
    queue([=, this, params = init.params, num_prompt = init.num_prompt] {
      ops_->set_sampler(slot, {params, tokens, num_prompt});
    });
  }
  void clear_sampler(int32_t slot) override {
    queue([=, this] { ops_->clear_sampler(slot); });
  }
  void sample(const kernels::SampleParams& p) override {
    queue([=, this] { ops_->sample(p); });
  }
  void score(const kernels::ScoreParams& p) override {
    queue([=, this] { ops_->score(p); });
  }

 private:
  using Call = std::function<void()>;

  void queue(Call call) {
    if (recording_) {
      recorded_.push_back(std::move(call));
      return;
    }
    queue_.push_back(std::move(call));
    ++num_queued_;
  }
  void do_until(int64_t count) {
    CHECK(!recording_ && count <= num_queued_);
    for (; num_done_ < count; ++num_done_) {
      queue_.front()();
      queue_.pop_front();
    }
  }

  DeferredCounts& counts_;
  std::deque<Call> queue_;
  int64_t num_queued_ = 0;
  int64_t num_done_ = 0;
  bool recording_ = false;
  std::vector<Call> recorded_;
  std::map<uint64_t, std::vector<Call>> records_;
};

}  // namespace

std::unique_ptr<kernels::Ops> make_deferred_ops(std::unique_ptr<kernels::Ops> ops,
                                                DeferredCounts& counts) {
  return std::make_unique<DeferredOps>(std::move(ops), counts);
}

}  // namespace mimo::node::model_test
