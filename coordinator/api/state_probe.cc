#include "coordinator/api/state_probe.h"

#include <prometheus/client_metric.h>
#include <prometheus/metric_type.h>

#include <map>
#include <string>
#include <utility>

namespace mimo::coordinator {
namespace {

prometheus::MetricFamily gauge(const char* name, const char* help) {
  prometheus::MetricFamily family;
  family.name = name;
  family.help = help;
  family.type = prometheus::MetricType::Gauge;
  return family;
}

void add(double value, const std::string& label, const std::string& label_value,
         prometheus::MetricFamily* family) {
  prometheus::ClientMetric metric;
  if (!label.empty()) metric.label.push_back({label, label_value});
  metric.gauge.value = value;
  family->metric.push_back(std::move(metric));
}

prometheus::MetricFamily single(const char* name, const char* help, double value,
                                const std::string& label = "", const std::string& of = "") {
  auto family = gauge(name, help);
  add(value, label, of, &family);
  return family;
}

prometheus::MetricFamily group_state(const GroupStatus& status) {
  auto family = gauge("mimo_coordinator_group_state", "1 for the state that the group is in.");
  for (const GroupState state : {GroupState::kWaiting, GroupState::kPreparing, GroupState::kLoading,
                                 GroupState::kServing, GroupState::kDraining})
    add(status.state == state ? 1 : 0, "state", group_state_name(state), &family);
  return family;
}

prometheus::MetricFamily workers(const GroupStatus& status) {
  std::map<std::string, int> counts = {
      {"waiting", 0}, {"preparing", 0}, {"loading", 0}, {"serving", 0}, {"lost", 0}};
  for (const v1::WorkerInfo& worker : status.workers) ++counts[worker.state()];
  auto family = gauge("mimo_coordinator_workers", "Workers known, by state.");
  for (const auto& [state, count] : counts) add(count, "state", state, &family);
  return family;
}

}  // namespace

std::vector<prometheus::MetricFamily> StateProbe::Collect() const {
  const GroupStatus status = facts_.status();
  const std::string& model = facts_.model.model();
  std::vector<prometheus::MetricFamily> families;
  families.push_back(single("vllm:num_requests_running", "Sequences that the group runs.",
                            status.running, "model_name", model));
  families.push_back(single("vllm:num_requests_waiting", "Sequences that wait at the group.",
                            status.waiting, "model_name", model));
  families.push_back(single("vllm:kv_cache_usage_perc", "Used share of the fuller KV pool, 0 to 1.",
                            kv_usage(status), "model_name", model));
  families.push_back(group_state(status));
  families.push_back(workers(status));
  families.push_back(single("mimo_coordinator_epoch", "The group's latest epoch.",
                            static_cast<double>(status.epoch)));
  families.push_back(single("mimo_coordinator_streams", "Generate streams that are open.",
                            sessions_.load().num_streams));
  return families;
}

}  // namespace mimo::coordinator
