#include "node/service/probe.h"

#include <prometheus/counter.h>
#include <prometheus/exposer.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <utility>
#include <vector>

#include "base/check.h"

namespace mimo::node {
namespace {

using prometheus::BuildCounter;
using prometheus::BuildGauge;
using prometheus::BuildHistogram;
using prometheus::Counter;
using prometheus::Family;
using prometheus::Gauge;
using prometheus::Histogram;
using Buckets = Histogram::BucketBoundaries;
using Labels = std::map<std::string, std::string>;

// Below 10 ms finer than vLLM, above as vLLM.
const Buckets kStepSeconds = {.0005, .001, .0015, .002, .003, .004, .006, .008, .01,
                              .025,  .05,  .075,  .1,   .15,  .2,   .3,   .4,   .5,
                              .75,   1,    2.5,   5,    7.5,  10,   20,   40,   80};
const Buckets kPlanSeconds = {5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4,
                              5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 0.1};
const Buckets kPlanBytes = {16, 32, 64, 128, 256, 1024, 4096, 16384, 65536, 262144, 1048576};
const Buckets kIterationTokens = {1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384};

// The series of one epoch: they go when it goes.
template <typename Metric>
class Series {
 public:
  explicit Series(Family<Metric>& family) : family_(family) {}
  ~Series() { clear(); }

  template <typename... Arguments>
  Metric& add(const Labels& labels, Arguments&&... arguments) {
    metrics_.push_back(&family_.Add(labels, std::forward<Arguments>(arguments)...));
    return *metrics_.back();
  }
  void clear() {
    for (Metric* metric : metrics_) family_.Remove(metric);
    metrics_.clear();
  }
  Metric& operator[](size_t i) { return *metrics_[i]; }
  bool empty() const { return metrics_.empty(); }

 private:
  Family<Metric>& family_;
  std::vector<Metric*> metrics_;
};

template <typename Builder>
auto& family(Builder builder, prometheus::Registry& registry, const char* name, const char* help) {
  return builder.Name(name).Help(help).Register(registry);
}

class RankSeries {
 public:
  explicit RankSeries(prometheus::Registry& r)
      : kv_(family(BuildGauge(), r, "mimo_kv_bytes", "Bytes of the KV page pools")),
        device_(family(BuildGauge(), r, "mimo_device_bytes", "Bytes taken from the device")),
        steps_(family(BuildCounter(), r, "mimo_steps_total", "Steps that the rank has done")),
        masks_(family(BuildCounter(), r, "mimo_token_masks_total",
                      "Masks made for draws under a constraint")),
        mask_seconds_(family(BuildCounter(), r, "mimo_token_mask_seconds_total",
                             "Making masks, while the forward pass runs")),
        seconds_(family(BuildHistogram(), r, "mimo_step_seconds", "The rank's part of a step")) {}

  void begin(int32_t rank, const MemoryReport& memory) {
    const std::string name = std::to_string(rank);
    kv_.clear();
    device_.clear();
    for (const MemoryReport::Kv& kv : memory.kv) {
      kv_.add({{"rank", name},
               {"group", kvcache::kv_kind_name(kv.kind)},
               {"plane", kvcache::kv_plane_name(kv.plane)},
               {"state", kvcache::page_state_name(kv.state)}});
    }
    for (int32_t i = 0; i < kernels::kNumPurposes; ++i) {
      const char* purpose = kernels::purpose_name(static_cast<kernels::Purpose>(i));
      device_.add({{"rank", name}, {"purpose", purpose}});
    }
    if (rank_ != rank) {
      for (Series<Counter>* counter : {&steps_, &masks_, &mask_seconds_}) {
        counter->clear();
        counter->add({{"rank", name}});
      }
      seconds_.clear();
      seconds_.add({{"rank", name}}, kStepSeconds);
    }
    rank_ = rank;
    set(memory);
  }

  void step(int64_t duration_ns, const MemoryReport& memory, const MaskReport& masks) {
    steps_[0].Increment();
    // Those of a rank that was made anew count from 0 again.
    if (masks.num_masks < masks_seen_.num_masks) masks_seen_ = {};
    const int64_t mask_ns = masks.duration_ns - masks_seen_.duration_ns;
    masks_[0].Increment(static_cast<double>(masks.num_masks - masks_seen_.num_masks));
    mask_seconds_[0].Increment(static_cast<double>(mask_ns) * 1e-9);
    masks_seen_ = masks;
    seconds_[0].Observe(static_cast<double>(duration_ns) * 1e-9);
    set(memory);
  }

 private:
  void set(const MemoryReport& memory) {
    for (size_t i = 0; i < memory.kv.size(); ++i) {
      kv_[i].Set(static_cast<double>(memory.kv[i].bytes));
    }
    for (size_t i = 0; i < memory.by_purpose.size(); ++i) {
      device_[i].Set(static_cast<double>(memory.by_purpose[i]));
    }
  }

  Series<Gauge> kv_;
  Series<Gauge> device_;
  Series<Counter> steps_;
  Series<Counter> masks_;
  Series<Counter> mask_seconds_;
  Series<Histogram> seconds_;
  MaskReport masks_seen_;  // as of the last step
  int32_t rank_ = -1;
};

// vLLM's names, which routers and autoscalers read, and the engine's own.
class LeaderSeries {
 public:
  explicit LeaderSeries(prometheus::Registry& r)
      : gauges_{Series<Gauge>(family(BuildGauge(), r, "vllm:num_requests_running",
                                     "Sequences in the running batch")),
                Series<Gauge>(family(BuildGauge(), r, "vllm:num_requests_waiting",
                                     "Sequences that wait for a place")),
                Series<Gauge>(family(BuildGauge(), r, "vllm:kv_cache_usage_perc",
                                     "Used share of the full group's pages, 0 to 1"))},
        counters_{Series<Counter>(family(BuildCounter(), r, "vllm:num_preemptions_total",
                                         "Sequences that gave their pages back")),
                  Series<Counter>(family(BuildCounter(), r, "vllm:prompt_tokens_total",
                                         "Tokens read, also again after a preemption")),
                  Series<Counter>(
                      family(BuildCounter(), r, "vllm:generation_tokens_total", "Tokens drawn"))},
        histograms_{
            Series<Histogram>(family(BuildHistogram(), r, "vllm:iteration_tokens_total",
                                     "Tokens of a step, read and drawn")),
            Series<Histogram>(family(BuildHistogram(), r, "mimo_plan_seconds", "Planning a step")),
            Series<Histogram>(
                family(BuildHistogram(), r, "mimo_plan_bytes", "Size of a step's plan"))},
        info_(family(BuildGauge(), r, "vllm:cache_config_info", "Pages of the full group")) {}

  void begin(const Engine::Options& options) {
    const Labels labels = {{"engine", "0"}};
    for (auto& gauge : gauges_) {
      gauge.clear();
      gauge.add(labels);
    }
    num_preemptions_ = 0;
    info_.clear();
    const kvcache::KvSpec& spec = options.has_full ? options.full : options.window;
    const int32_t pages = options.has_full ? options.full_pages : options.window_pages;
    info_
        .add({{"engine", "0"},
              {"block_size", std::to_string(spec.page_tokens)},
              {"num_gpu_blocks", std::to_string(pages)}})
        .Set(1);
    usage_of_ = static_cast<size_t>(spec.kind);
    if (!counters_[0].empty()) return;  // they go on where the last epoch left them
    for (auto& counter : counters_) counter.add(labels);
    const Buckets* buckets[] = {&kIterationTokens, &kPlanSeconds, &kPlanBytes};
    for (size_t i = 0; i < histograms_.size(); ++i) histograms_[i].add(labels, *buckets[i]);
  }

  void end() {
    for (auto& gauge : gauges_) gauge[0].Set(0);
  }

  void step(const EngineStats& stats) {
    gauges_[0][0].Set(stats.num_running);
    gauges_[1][0].Set(stats.num_waiting);
    const EngineStats::Pages& pages = stats.pages[usage_of_];
    gauges_[2][0].Set(pages.total == 0 ? 0 : 1.0 - static_cast<double>(pages.free) / pages.total);
    counters_[0][0].Increment(static_cast<double>(stats.num_preemptions - num_preemptions_));
    num_preemptions_ = stats.num_preemptions;
    counters_[1][0].Increment(stats.prefill_tokens);
    counters_[2][0].Increment(stats.decode_tokens);
    histograms_[0][0].Observe(stats.prefill_tokens + stats.decode_tokens);
    histograms_[1][0].Observe(static_cast<double>(stats.plan_ns) * 1e-9);
    histograms_[2][0].Observe(static_cast<double>(stats.plan_bytes));
  }

 private:
  std::array<Series<Gauge>, 3> gauges_;
  std::array<Series<Counter>, 3> counters_;
  std::array<Series<Histogram>, 3> histograms_;
  Series<Gauge> info_;
  size_t usage_of_ = 0;
  int64_t num_preemptions_ = 0;  // as of the last step
};

class Probe final : public WorkerProbe {
 public:
  Probe(std::unique_ptr<prometheus::Exposer> exposer, std::string address)
      : registry_(std::make_shared<prometheus::Registry>()),
        rank_(*registry_),
        leader_(*registry_),
        address_(std::move(address)),
        exposer_(std::move(exposer)) {
    exposer_->RegisterCollectable(registry_);
  }

  const std::string& address() const override { return address_; }
  void begin_epoch(int32_t rank, const MemoryReport& memory) override { rank_.begin(rank, memory); }
  void rank_step(int64_t duration_ns, const MemoryReport& memory,
                 const MaskReport& masks) override {
    rank_.step(duration_ns, memory, masks);
  }
  void begin_leading(const Engine::Options& options) override { leader_.begin(options); }
  void engine_step(const EngineStats& stats) override { leader_.step(stats); }
  void end_leading() override { leader_.end(); }

 private:
  // The exposer keeps only a weak share, so that the registry goes with this.
  std::shared_ptr<prometheus::Registry> registry_;
  RankSeries rank_;
  LeaderSeries leader_;
  std::string address_;
  std::unique_ptr<prometheus::Exposer> exposer_;
};

}  // namespace

Result<std::unique_ptr<WorkerProbe>> WorkerProbe::create(const std::string& address) {
  // The library reports a port that is taken by an exception.
  try {
    auto exposer = std::make_unique<prometheus::Exposer>(address, 1);
    const std::vector<int> ports = exposer->GetListeningPorts();
    if (ports.empty()) return unavailable("metrics: cannot listen on " + address);
    const std::string host = address.substr(0, address.rfind(':') + 1);
    return std::unique_ptr<WorkerProbe>(
        std::make_unique<Probe>(std::move(exposer), host + std::to_string(ports.front())));
  } catch (const std::exception& error) {
    return unavailable("metrics: cannot listen on " + address + ": " + error.what());
  }
}

}  // namespace mimo::node
