#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "parallel/frame_socket.h"
#include "parallel/plan_channel.h"
#include "parallel/plan_channel_tcp.h"
#include "parallel/wait.h"

namespace mimo::parallel {

// The leader's end over connections that have been greeted; index = rank - 1.
//
// Thread:    one at a time; abort() from any.
// Invariant: reports_[i] holds no more reports than plans are in flight.
class TcpPlanLeader final : public PlanLeader {
 public:
  TcpPlanLeader(std::vector<FrameSocket> followers, std::unique_ptr<AbortEvent> aborted,
                const TcpPlanOptions& options);

  Result<void> send(std::span<const uint8_t> plan) override;
  Result<std::vector<std::vector<uint8_t>>> collect(int64_t timeout_ms) override;
  void abort() override;

 private:
  Result<void> write_all(const Deadline& deadline);
  Result<void> read_reports(size_t follower);
  Result<bool> wait_reports(const Deadline& deadline);
  std::string missing() const;
  Error break_with(Error error);

  std::vector<FrameSocket> followers_;
  std::vector<std::deque<std::vector<uint8_t>>> reports_;
  std::vector<std::optional<Error>> closed_;  // why nothing more comes from a follower
  std::vector<pollfd> polled_;                // [followers + 1], kept to allocate once
  const std::unique_ptr<AbortEvent> aborted_;
  const TcpPlanOptions options_;
  int64_t num_in_flight_ = 0;
  std::optional<Error> broken_;
};

// A follower's end over a connection that the leader has greeted.
//
// Thread:    one at a time; abort() from any.
class TcpPlanFollower final : public PlanFollower {
 public:
  TcpPlanFollower(FrameSocket leader, std::unique_ptr<AbortEvent> aborted,
                  const TcpPlanOptions& options);

  Result<std::vector<uint8_t>> receive(int64_t timeout_ms) override;
  Result<void> report(std::span<const uint8_t> bytes) override;
  void abort() override;

 private:
  Error break_with(Error error);

  FrameSocket leader_;
  const std::unique_ptr<AbortEvent> aborted_;
  const TcpPlanOptions options_;
  int64_t num_unreported_ = 0;
  std::optional<Error> broken_;
};

}  // namespace mimo::parallel
