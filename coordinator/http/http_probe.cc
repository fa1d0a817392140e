#include "coordinator/http/http_probe.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/registry.h>

#include <string>

namespace mimo::http {

HttpProbe::HttpProbe(prometheus::Registry& registry) {
  auto& answers = prometheus::BuildCounter()
                      .Name("mimo_http_answers_total")
                      .Help("Answers over HTTP, by the status's first digit")
                      .Register(registry);
  for (size_t i = 1; i < answered_.size(); ++i)
    answered_[i] = &answers.Add({{"status", std::to_string(i + 1) + "xx"}});
  connections_ = &prometheus::BuildGauge()
                      .Name("mimo_http_connections")
                      .Help("Open HTTP connections")
                      .Register(registry)
                      .Add({});
}

void HttpProbe::answered(int32_t status) {
  const auto idx = static_cast<size_t>(status / 100 - 1);
  if (idx < answered_.size() && answered_[idx] != nullptr) answered_[idx]->Increment();
}

void HttpProbe::connections(int32_t count) { connections_->Set(count); }

}  // namespace mimo::http
