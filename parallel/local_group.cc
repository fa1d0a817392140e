#include "parallel/local_group.h"

#include <condition_variable>
#include <cstring>
#include <mutex>
#include <optional>
#include <string>

#include "parallel/collective_call.h"
#include "parallel/ordered_sum.h"
#include "parallel/wait.h"

namespace mimo::parallel {
namespace {

// What one rank brings to a call.
struct Part {
  CollectiveCall call;
  const void* in = nullptr;
  void* out = nullptr;
  bool here = false;
};

// Where the ranks of one group meet.
//
// Thread:    any; the mutex is what the ranks wait on (all ranks at once, so no queue would do).
// Invariant: between first meeting and leave(), no rank returns: the others may touch its buffers.
class MeetingPlace final {
 public:
  MeetingPlace(int32_t size, int64_t timeout_ms) : parts_(size), timeout_ms_(timeout_ms) {}

  int32_t size() const { return static_cast<int32_t>(parts_.size()); }

  // Returns when every rank has come with the same call.
  Result<void> meet(int32_t rank, const CollectiveCall& call, const void* in, void* out) {
    const Deadline deadline = Deadline::after_ms(timeout_ms_);
    std::unique_lock lock(mutex_);
    if (broken_) return *broken_;
    parts_[rank] = {call, in, out, true};
    const int64_t meeting = num_meetings_;
    if (++num_here_ == size()) {
      open_locked();
      if (broken_) return *broken_;
      return {};
    }
    const auto met = [&] { return num_meetings_ != meeting || broken_; };
    if (!changed_.wait_until(lock, deadline.at(), met)) break_locked(timeout_error(call));
    if (num_meetings_ != meeting) return {};
    return *broken_;
  }

  // Returns when every rank of the meeting has called it. No deadline: what is done between
  // meet() and leave() is a copy or a sum, and a rank that returned early would take its buffers
  // from under the others.
  void leave() {
    std::unique_lock lock(mutex_);
    const int64_t parting = num_partings_;
    if (++num_left_ == size()) {
      num_left_ = 0;
      ++num_partings_;
      changed_.notify_all();
    }
    changed_.wait(lock, [&] { return num_partings_ != parting; });
  }

  void break_with(Error error) {
    std::lock_guard lock(mutex_);
    break_locked(std::move(error));
  }

  // Between meet() and leave() only.
  const Part& part(int32_t rank) const { return parts_[rank]; }

 private:
  void open_locked() {
    num_here_ = 0;
    for (Part& part : parts_) part.here = false;
    for (int32_t r = 1; r < size(); ++r) {
      if (parts_[r].call == parts_[0].call) continue;
      return break_locked(call_mismatch(r, parts_[r].call, 0, parts_[0].call));
    }
    ++num_meetings_;
    changed_.notify_all();
  }

  void break_locked(Error error) {
    if (!broken_) broken_ = std::move(error);
    changed_.notify_all();
  }

  Error timeout_error(const CollectiveCall& call) const {
    std::string missing;
    for (int32_t r = 0; r < size(); ++r) {
      if (!parts_[r].here) missing += (missing.empty() ? "" : ", ") + std::to_string(r);
    }
    return {Code::kDeadlineExceeded, call.to_string() + ": no word from rank " + missing +
                                         " within " + std::to_string(timeout_ms_) + " ms"};
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Part> parts_;
  const int64_t timeout_ms_;
  int32_t num_here_ = 0;
  int32_t num_left_ = 0;
  int64_t num_meetings_ = 0;
  int64_t num_partings_ = 0;
  std::optional<Error> broken_;
};

class LocalGroup final : public TpGroup {
 public:
  // The place is shared by the ranks, none of which outlives the others for sure.
  LocalGroup(std::shared_ptr<MeetingPlace> place, int32_t rank)
      : place_(std::move(place)), rank_(rank) {}
  ~LocalGroup() override {
    place_->break_with(unavailable("rank " + std::to_string(rank_) + " left the group"));
  }

  int32_t rank() const override { return rank_; }
  int32_t size() const override { return place_->size(); }

  Result<void> all_reduce(DType dtype, void* data, int64_t count, Stream stream) override {
    CHECK(stream.handle == nullptr);
    CHECK_GE(count, 0);
    TRY(check_summable(dtype));
    TRY(place_->meet(rank_, {CollectiveCall::Kind::kAllReduce, dtype, count}, nullptr, data));
    // Each rank sums its slice into everybody's buffer: nobody else touches that slice.
    const Slice slice = rank_slice(count, size(), rank_);
    const int64_t offset = slice.begin * dtype_bytes(dtype);
    std::vector<const void*> in;
    for (int32_t r = 0; r < size(); ++r) {
      in.push_back(static_cast<const char*>(place_->part(r).out) + offset);
    }
    if (slice.count() > 0) {
      void* sum = static_cast<char*>(data) + offset;
      ordered_sum(dtype, in, sum, slice.count());
      for (int32_t r = 0; r < size(); ++r) {
        if (r != rank_) {
          std::memcpy(const_cast<void*>(in[r]), sum, slice.count() * dtype_bytes(dtype));
        }
      }
    }
    place_->leave();
    return {};
  }

  Result<void> all_gather(const void* in, void* out, int64_t bytes, Stream stream) override {
    CHECK(stream.handle == nullptr);
    CHECK_GE(bytes, 0);
    const CollectiveCall call{CollectiveCall::Kind::kAllGather, DType::kF32, bytes};
    TRY(place_->meet(rank_, call, in, out));
    for (int32_t r = 0; r < size() && bytes > 0; ++r) {
      void* to = static_cast<char*>(out) + r * bytes;
      if (place_->part(r).in != to) std::memcpy(to, place_->part(r).in, bytes);
    }
    place_->leave();
    return {};
  }

  Result<void> barrier() override { return place_->meet(rank_, {}, nullptr, nullptr); }

  void abort() override {
    place_->break_with(unavailable("aborted by rank " + std::to_string(rank_)));
  }

 private:
  const std::shared_ptr<MeetingPlace> place_;
  const int32_t rank_;
};

}  // namespace

std::vector<std::unique_ptr<TpGroup>> make_local_groups(int32_t size, int64_t timeout_ms) {
  CHECK_GT(size, 0);
  auto place = std::make_shared<MeetingPlace>(size, timeout_ms);
  std::vector<std::unique_ptr<TpGroup>> groups;
  for (int32_t r = 0; r < size; ++r) groups.push_back(std::make_unique<LocalGroup>(place, r));
  return groups;
}

}  // namespace mimo::parallel
