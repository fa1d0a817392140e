#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "coordinator/api/server_facts.h"
#include "coordinator/sessions/sessions.h"

namespace prometheus {
class Registry;
}

namespace mimo::coordinator {

// /metrics over HTTP: what is in the registry, and the group's state as of the scrape.
//
// Thread:   its own.
// Lifetime: sessions and what `facts` refers to outlive it. The destructor may take two seconds.
class MetricsServer final {
 public:
  // kUnavailable naming the address when it cannot be listened at.
  static Result<std::unique_ptr<MetricsServer>> create(
      const std::string& listen, std::shared_ptr<prometheus::Registry> registry,
      const ServerFacts& facts, Sessions& sessions);
  ~MetricsServer();
  MetricsServer(const MetricsServer&) = delete;
  MetricsServer& operator=(const MetricsServer&) = delete;

  const std::string& address() const { return address_; }

 private:
  struct Running;
  MetricsServer(std::unique_ptr<Running> running, std::string address);

  std::unique_ptr<Running> running_;
  std::string address_;
};

}  // namespace mimo::coordinator
