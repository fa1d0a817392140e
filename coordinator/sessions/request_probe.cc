#include "coordinator/sessions/request_probe.h"

#include <prometheus/counter.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <map>
#include <utility>
#include <vector>

namespace mimo::coordinator {
namespace {

using Buckets = std::vector<double>;
using Labels = std::map<std::string, std::string>;

const Buckets kFirstTokenBuckets = {.001, .005, .01, .02, .04, .06, .08, .1, .25, .5,  .75,
                                    1,    2.5,  5,   7.5, 10,  20,  40,  80, 160, 640, 2560};
// vLLM's begin at 10 ms, which would hide a model that draws a token every 2 to 4 ms.
const Buckets kTokenBuckets = {.0005, .001, .0015, .002, .003, .004, .006, .008, .01,
                               .025,  .05,  .075,  .1,   .15,  .2,   .3,   .4,   .5,
                               .75,   1,    2.5,   5,    7.5,  10,   20,   40,   80};
const Buckets kRequestBuckets = {.3, .5, .8, 1,  1.5, 2,   2.5, 5,   10,   15,  20,
                                 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680};

// 1, 2, 5, 10, ... up to `most`.
Buckets one_two_five(int32_t most) {
  Buckets buckets;
  for (double decade = 1; decade <= most; decade *= 10)
    for (const double step : {1.0, 2.0, 5.0})
      if (decade * step <= most) buckets.push_back(decade * step);
  return buckets;
}

prometheus::Counter& counter(prometheus::Registry& registry, const char* name, const char* help,
                             const Labels& labels) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry).Add(labels);
}

prometheus::Histogram& histogram(prometheus::Registry& registry, const char* name, const char* help,
                                 const Labels& labels, const Buckets& buckets) {
  return prometheus::BuildHistogram().Name(name).Help(help).Register(registry).Add(labels, buckets);
}

}  // namespace

struct RequestProbe::Metrics {
  Metrics(prometheus::Registry& registry, const std::string& model_name, int32_t positions_max)
      : labels{{"model_name", model_name}},
        success(prometheus::BuildCounter()
                    .Name("vllm:request_success_total")
                    .Help("Outputs that ended, by reason.")
                    .Register(registry)),
        refused(prometheus::BuildCounter()
                    .Name("mimo_coordinator_requests_refused_total")
                    .Help("Requests that were not let in, by error code.")
                    .Register(registry)),
        prompt_tokens(counter(registry, "vllm:prompt_tokens_total",
                              "Prompt tokens of requests let in.", labels)),
        generation_tokens(
            counter(registry, "vllm:generation_tokens_total", "Tokens drawn.", labels)),
        first_token(histogram(registry, "vllm:time_to_first_token_seconds",
                              "From a request's arrival to its first token.", labels,
                              kFirstTokenBuckets)),
        inter_token(histogram(registry, "vllm:inter_token_latency_seconds",
                              "Between two tokens of an output.", labels, kTokenBuckets)),
        per_token(histogram(registry, "vllm:request_time_per_output_token_seconds",
                            "An output's mean time between tokens.", labels, kTokenBuckets)),
        e2e(histogram(registry, "vllm:e2e_request_latency_seconds",
                      "From a request's arrival to its end.", labels, kRequestBuckets)),
        request_prompt(histogram(registry, "vllm:request_prompt_tokens",
                                 "Prompt tokens of a request.", labels,
                                 one_two_five(positions_max))),
        request_generation(histogram(registry, "vllm:request_generation_tokens",
                                     "Tokens drawn for an output.", labels,
                                     one_two_five(positions_max))) {
    for (const char* reason : {"stop", "length", "abort", "error"}) finished(reason).Increment(0);
  }

  prometheus::Counter& finished(const std::string& reason) {
    Labels with_reason = labels;
    with_reason["finished_reason"] = reason;
    return success.Add(with_reason);
  }

  Labels labels;
  prometheus::Family<prometheus::Counter>& success;
  prometheus::Family<prometheus::Counter>& refused;
  prometheus::Counter& prompt_tokens;
  prometheus::Counter& generation_tokens;
  prometheus::Histogram& first_token;
  prometheus::Histogram& inter_token;
  prometheus::Histogram& per_token;
  prometheus::Histogram& e2e;
  prometheus::Histogram& request_prompt;
  prometheus::Histogram& request_generation;
};

RequestProbe::RequestProbe(prometheus::Registry& registry, const std::string& model,
                           int32_t positions_max)
    : metrics_(std::make_unique<Metrics>(registry, model, positions_max)) {}

RequestProbe::~RequestProbe() = default;

void RequestProbe::refused(v1::ErrorCode code) {
  // "ERROR_CODE_OVERLOADED" -> "OVERLOADED".
  const std::string name = v1::ErrorCode_Name(code).substr(sizeof("ERROR_CODE_") - 1);
  metrics_->refused.Add({{"code", name}}).Increment();
}
void RequestProbe::prompt_read(int32_t num_tokens) {
  metrics_->prompt_tokens.Increment(num_tokens);
}
void RequestProbe::tokens_drawn(int64_t num_tokens) {
  metrics_->generation_tokens.Increment(static_cast<double>(num_tokens));
}
void RequestProbe::first_token(double seconds_since_open) {
  metrics_->first_token.Observe(seconds_since_open);
}
void RequestProbe::next_token(double seconds_since_last) {
  metrics_->inter_token.Observe(seconds_since_last);
}
void RequestProbe::output_finished(const char* finished_reason, int32_t num_tokens,
                                   double seconds_per_token) {
  metrics_->finished(finished_reason).Increment();
  metrics_->request_generation.Observe(num_tokens);
  if (num_tokens > 1) metrics_->per_token.Observe(seconds_per_token);
}
void RequestProbe::request_finished(double seconds, int32_t num_prompt_tokens) {
  metrics_->e2e.Observe(seconds);
  metrics_->request_prompt.Observe(num_prompt_tokens);
}

}  // namespace mimo::coordinator
