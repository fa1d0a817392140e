#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "base/result.h"
#include "coordinator/options.h"

namespace mimo::coordinator {

// The whole process: checkpoint and tokenizer read, group manager, sessions, API, metrics.
//
// Thread:    one; what it starts has threads of its own.
// Lifetime:  stop(), or the destructor, ends everything in reverse order of starting.
class Coordinator final {
 public:
  struct Addresses {
    std::string listen;
    std::string http_listen;  // empty: HTTP is not served
    std::string cluster_listen;
    std::string metrics_listen;
  };

  // Listens everywhere when it returns; workers may join and clients may ask.
  static Result<std::unique_ptr<Coordinator>> create(const CoordinatorOptions& options);
  ~Coordinator();
  Coordinator(const Coordinator&) = delete;
  Coordinator& operator=(const Coordinator&) = delete;

  const Addresses& addresses() const { return addresses_; }

  // Health says NOT_SERVING and new requests are refused; what runs goes on.
  void begin_drain();
  // True when no stream is left.
  bool wait_idle(std::chrono::milliseconds timeout);
  // What still runs ends UNAVAILABLE. Safe to call twice.
  void stop();

 private:
  struct Parts;
  Coordinator(std::unique_ptr<Parts> parts, Addresses addresses);

  std::unique_ptr<Parts> parts_;
  Addresses addresses_;
};

}  // namespace mimo::coordinator
