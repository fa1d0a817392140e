#include "parallel/plan_channel_local.h"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <string>

#include "parallel/wait.h"

namespace mimo::parallel {
namespace {

using Bytes = std::vector<uint8_t>;

// Plans on their way to one follower and its reports on their way back.
struct Line {
  std::deque<Bytes> plans;
  std::deque<Bytes> reports;
  int64_t num_unreported = 0;  // received and not yet reported
  bool closed = false;         // the follower is gone
};

// All lines of one channel.
//
// Thread:    any; one mutex, because collect() waits for all lines at once, which queues of their
//            own could not offer.
// Invariant: a line holds at most kPlansInFlightMax plans and as many reports.
class Switchboard final {
 public:
  explicit Switchboard(int32_t num_followers) : lines_(num_followers) {}

  Result<void> send(std::span<const uint8_t> plan) {
    const auto size = static_cast<int64_t>(plan.size());
    if (size > kPlanBytesMax) {
      return invalid_argument("plan of " + std::to_string(size) + " bytes, at most " +
                              std::to_string(kPlanBytesMax));
    }
    {
      std::lock_guard lock(mutex_);
      if (broken_) return *broken_;
      if (num_in_flight_ >= kPlansInFlightMax) {
        return Error{Code::kResourceExhausted,
                     std::to_string(num_in_flight_) + " plans in flight are not yet collected"};
      }
      for (size_t i = 0; i < lines_.size(); ++i) {
        if (lines_[i].closed) return break_locked(follower_gone(i));
      }
      for (Line& line : lines_) line.plans.emplace_back(plan.begin(), plan.end());
      ++num_in_flight_;
    }
    changed_.notify_all();
    return {};
  }

  Result<std::vector<Bytes>> collect(int64_t timeout_ms) {
    const Deadline deadline = Deadline::after_ms(timeout_ms);
    std::unique_lock lock(mutex_);
    if (!broken_ && num_in_flight_ == 0) {
      return Error{Code::kFailedPrecondition, "no plan is in flight"};
    }
    const auto lost = [&] {
      for (size_t i = 0; i < lines_.size(); ++i) {
        if (lines_[i].closed && lines_[i].reports.empty()) return static_cast<int64_t>(i);
      }
      return int64_t{-1};
    };
    const bool woken = changed_.wait_until(
        lock, deadline.at(), [&] { return broken_ || missing_locked().empty() || lost() >= 0; });
    if (broken_) return *broken_;
    if (!woken) {
      return Error{Code::kDeadlineExceeded, "no report from rank " + missing_locked() + " within " +
                                                std::to_string(timeout_ms) + " ms"};
    }
    if (lost() >= 0) return break_locked(follower_gone(lost()));
    std::vector<Bytes> reports;
    for (Line& line : lines_) {
      reports.push_back(std::move(line.reports.front()));
      line.reports.pop_front();
    }
    --num_in_flight_;
    return reports;
  }

  Result<Bytes> receive(size_t follower, int64_t timeout_ms) {
    const Deadline deadline = Deadline::after_ms(timeout_ms);
    std::unique_lock lock(mutex_);
    Line& line = lines_[follower];
    changed_.wait_until(lock, deadline.at(),
                        [&] { return broken_ || leader_gone_ || !line.plans.empty(); });
    if (broken_) return *broken_;
    if (!line.plans.empty()) {
      Bytes plan = std::move(line.plans.front());
      line.plans.pop_front();
      ++line.num_unreported;
      return plan;
    }
    if (leader_gone_) return unavailable("rank 0 closed the plan channel");
    return Error{Code::kDeadlineExceeded, "no plan within " + std::to_string(timeout_ms) + " ms"};
  }

  Result<void> report(size_t follower, std::span<const uint8_t> bytes) {
    const auto size = static_cast<int64_t>(bytes.size());
    if (size > kPlanBytesMax) {
      return invalid_argument("report of " + std::to_string(size) + " bytes, at most " +
                              std::to_string(kPlanBytesMax));
    }
    {
      std::lock_guard lock(mutex_);
      if (broken_) return *broken_;
      if (leader_gone_) return unavailable("rank 0 closed the plan channel");
      Line& line = lines_[follower];
      if (line.num_unreported == 0) {
        return Error{Code::kFailedPrecondition, "every plan received has been reported"};
      }
      --line.num_unreported;
      line.reports.emplace_back(bytes.begin(), bytes.end());
    }
    changed_.notify_all();
    return {};
  }

  void abort(int32_t rank) {
    std::lock_guard lock(mutex_);
    break_locked(unavailable("aborted by rank " + std::to_string(rank)));
  }

  void leader_left() {
    std::lock_guard lock(mutex_);
    leader_gone_ = true;
    changed_.notify_all();
  }

  void follower_left(size_t follower) {
    std::lock_guard lock(mutex_);
    lines_[follower].closed = true;
    changed_.notify_all();
  }

 private:
  static Error follower_gone(size_t follower) {
    return unavailable("rank " + std::to_string(follower + 1) + " closed the plan channel");
  }

  Error break_locked(Error error) {
    if (!broken_) broken_ = std::move(error);
    changed_.notify_all();
    return *broken_;
  }

  // "1, 3": ranks whose next report is not there.
  std::string missing_locked() const {
    std::string missing;
    for (size_t i = 0; i < lines_.size(); ++i) {
      if (lines_[i].reports.empty()) {
        missing += (missing.empty() ? "" : ", ") + std::to_string(i + 1);
      }
    }
    return missing;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Line> lines_;  // index = rank - 1
  int64_t num_in_flight_ = 0;
  bool leader_gone_ = false;
  std::optional<Error> broken_;
};

// The ends share the board: none of them outlives the others for sure.
class LocalLeader final : public PlanLeader {
 public:
  explicit LocalLeader(std::shared_ptr<Switchboard> board) : board_(std::move(board)) {}
  ~LocalLeader() override { board_->leader_left(); }
  Result<void> send(std::span<const uint8_t> plan) override { return board_->send(plan); }
  Result<std::vector<Bytes>> collect(int64_t timeout_ms) override {
    return board_->collect(timeout_ms);
  }
  void abort() override { board_->abort(0); }

 private:
  const std::shared_ptr<Switchboard> board_;
};

class LocalFollower final : public PlanFollower {
 public:
  LocalFollower(std::shared_ptr<Switchboard> board, int32_t rank)
      : board_(std::move(board)), rank_(rank) {}
  ~LocalFollower() override { board_->follower_left(rank_ - 1); }
  Result<Bytes> receive(int64_t timeout_ms) override {
    return board_->receive(rank_ - 1, timeout_ms);
  }
  Result<void> report(std::span<const uint8_t> bytes) override {
    return board_->report(rank_ - 1, bytes);
  }
  void abort() override { board_->abort(rank_); }

 private:
  const std::shared_ptr<Switchboard> board_;
  const int32_t rank_;
};

}  // namespace

LocalPlanChannel make_local_plan_channel(int32_t num_followers) {
  CHECK_GE(num_followers, 0);
  auto board = std::make_shared<Switchboard>(num_followers);
  LocalPlanChannel channel;
  channel.leader = std::make_unique<LocalLeader>(board);
  for (int32_t rank = 1; rank <= num_followers; ++rank) {
    channel.followers.push_back(std::make_unique<LocalFollower>(board, rank));
  }
  return channel;
}

}  // namespace mimo::parallel
