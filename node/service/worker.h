#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "node/service/config.h"

namespace mimo::node {

// One process of a group: joins the coordinator, becomes the rank that it is told to be, and serves
// until the epoch ends; then it waits for the next assignment, its weights kept. A coordinator that
// goes away is dialled again until it is back.
//
// Thread:    stop() any. The control thread has all state; see node/README.md.
// Lifetime:  the destructor stops.
class Worker {
 public:
  // `on_shutdown`: the coordinator wants this process to end. `on_stuck`: a step does not end
  // though its group is gone, and only the process's end helps. Called from the control thread.
  static Result<std::unique_ptr<Worker>> create(WorkerConfig config,
                                                std::function<void()> on_shutdown,
                                                std::function<void()> on_stuck);
  virtual ~Worker() = default;

  virtual std::string address() const = 0;
  virtual std::string metrics_address() const = 0;
  // Ends its epoch, says good-bye to the coordinator and ends all threads. False when that takes
  // longer than `timeout_ms`: something hangs, and only the process's end helps.
  virtual bool stop(int64_t timeout_ms) = 0;
};

}  // namespace mimo::node
