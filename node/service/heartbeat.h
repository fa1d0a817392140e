#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>

#include "base/clock.h"
#include "node/service/join_link.h"
#include "node/service/live_figures.h"

namespace mimo::node {

// Tells the coordinator that the process lives, and cuts the stream when the coordinator is silent.
// Waits for nothing but time, so that an engine or a rank that hangs does not hold it up.
//
// Thread:    start(), stop() and heard() any; beats on its own.
// Lifetime:  `figures` and `clock` outlive it; the destructor joins.
class Heartbeat {
 public:
  Heartbeat(const LiveFigures& figures, const Clock& clock);
  ~Heartbeat();

  // Beats over `link` from here on; replaces an earlier one.
  void start(std::shared_ptr<JoinLink> link, double interval_s, double timeout_s);
  void stop();
  // The coordinator has said something.
  void heard();

 private:
  void run();
  void beat(JoinLink& link) const;

  const LiveFigures& figures_;
  const Clock& clock_;
  // The beat must not wait for the control thread, which is who starts and stops it.
  std::mutex mutex_;
  std::condition_variable changed_;
  std::shared_ptr<JoinLink> link_;  // shared with gRPC and the control thread; null: no beats
  double interval_s_ = 1;
  double timeout_s_ = 1;
  double heard_s_ = 0;
  bool closed_ = false;
  std::thread thread_;
};

}  // namespace mimo::node
