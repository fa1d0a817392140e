#pragma once

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <vector>

#include "coordinator/api/server_facts.h"
#include "coordinator/sessions/sessions.h"

namespace mimo::coordinator {

// The group's and the streams' numbers, read when somebody scrapes; alone knows the metrics' names.
//
// Thread:   the scraper's.
// Lifetime: sessions and what `facts` refers to outlive it.
class StateProbe final : public prometheus::Collectable {
 public:
  StateProbe(const ServerFacts& facts, Sessions& sessions) : facts_(facts), sessions_(sessions) {}

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const ServerFacts facts_;
  Sessions& sessions_;
};

}  // namespace mimo::coordinator
