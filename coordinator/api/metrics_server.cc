#include "coordinator/api/metrics_server.h"

#include <prometheus/exposer.h>
#include <prometheus/registry.h>

#include <exception>
#include <utility>

#include "coordinator/api/state_probe.h"

namespace mimo::coordinator {

struct MetricsServer::Running {
  // The exposer keeps weak pointers: these keep what they point to.
  std::shared_ptr<prometheus::Registry> registry;
  std::shared_ptr<StateProbe> state;
  std::unique_ptr<prometheus::Exposer> exposer;  // last: it asks the others
};

Result<std::unique_ptr<MetricsServer>> MetricsServer::create(
    const std::string& listen, std::shared_ptr<prometheus::Registry> registry,
    const ServerFacts& facts, Sessions& sessions) {
  auto running = std::make_unique<Running>();
  running->registry = std::move(registry);
  running->state = std::make_shared<StateProbe>(facts, sessions);
  int port = 0;
  try {
    running->exposer = std::make_unique<prometheus::Exposer>(listen, /*num_threads=*/1);
    running->exposer->RegisterCollectable(running->registry);
    running->exposer->RegisterCollectable(running->state);
    port = running->exposer->GetListeningPorts().at(0);
  } catch (const std::exception& refused) {
    return unavailable("metrics.listen = \"" + listen +
                       "\": cannot listen there: " + refused.what());
  }
  std::string address = listen.substr(0, listen.rfind(':') + 1) + std::to_string(port);
  return std::unique_ptr<MetricsServer>(new MetricsServer(std::move(running), std::move(address)));
}

MetricsServer::MetricsServer(std::unique_ptr<Running> running, std::string address)
    : running_(std::move(running)), address_(std::move(address)) {}

MetricsServer::~MetricsServer() = default;

}  // namespace mimo::coordinator
