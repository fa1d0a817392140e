#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/units.h"
#include "parallel/plan_channel.h"

namespace mimo::parallel {

struct TcpPlanOptions {
  int64_t plan_bytes_max = kPlanBytesMax;  // the bound of a frame, both ways
  // How long one send or report may wait for room in the kernel's buffers before the peer counts
  // as lost.
  int64_t send_timeout_ms = 10000;
};

// Where the leader waits for its followers. Lives as long as the leader's process likes: each
// formation of the group calls accept_followers() once, with its own epoch.
//
// Thread:    one thread at a time makes calls; abort() from any thread.
class TcpPlanListener final {
 public:
  // bind_host: a numeric IPv4 or IPv6 address. Port 0 picks a free port.
  static Result<std::unique_ptr<TcpPlanListener>> open(const std::string& bind_host, uint16_t port,
                                                       const TcpPlanOptions& options = {});
  ~TcpPlanListener();
  TcpPlanListener(const TcpPlanListener&) = delete;
  TcpPlanListener& operator=(const TcpPlanListener&) = delete;

  // "127.0.0.1:4711" or "[::1]:4711".
  const std::string& address() const { return address_; }

  // Waits until ranks 1 .. size-1 of `epoch` are connected. Whoever says something else (no hello,
  // another magic, epoch or rank, a rank that is there already) is turned away and told why, and
  // the wait goes on. kDeadlineExceeded names the missing ranks; kUnavailable after abort().
  // After kDeadlineExceeded the listener can be used again.
  Result<std::unique_ptr<PlanLeader>> accept_followers(int32_t size, Epoch epoch,
                                                       int64_t timeout_ms);

  // A pending and every later accept_followers() answers kUnavailable within 100 ms.
  void abort();

 private:
  struct State;
  TcpPlanListener(std::unique_ptr<State> state, std::string address);

  std::unique_ptr<State> state_;
  std::string address_;
};

// A follower's end, connected and greeted by the leader. `address` as the listener gave it.
// kInvalidArgument: no such address. kUnavailable: nobody listens. kFailedPrecondition: the leader
// turned this rank away (another epoch, rank taken). kDeadlineExceeded: no answer in time.
Result<std::unique_ptr<PlanFollower>> connect_plan_follower(const std::string& address,
                                                            int32_t rank, Epoch epoch,
                                                            int64_t timeout_ms,
                                                            const TcpPlanOptions& options = {});

}  // namespace mimo::parallel
