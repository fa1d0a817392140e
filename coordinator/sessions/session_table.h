#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "coordinator/sessions/live_session.h"

namespace mimo::coordinator {

// The sequence ids of one session: kOutputsMax from first_sequence_id(number) on.
constexpr int32_t kOutputsMax = 64;
constexpr int64_t first_sequence_id(int64_t number) { return number * kOutputsMax; }
constexpr int64_t session_number(int64_t sequence_id) { return sequence_id / kOutputsMax; }

// The live sessions, by request id and by number. An id is free again when its session has closed;
// the number stays until the stream is done.
//
// Thread: any. A mutex: lookups need their answer at once. Taken last, no other lock inside it.
class SessionTable final {
 public:
  // kAlreadyExists when the request id is live. Sets the session's number, never used before.
  Result<void> add(const std::shared_ptr<LiveSession>& live);
  void free_id(const LiveSession& live);
  void remove(const LiveSession& live);

  // nullptr when there is none.
  std::shared_ptr<LiveSession> find_id(const std::string& request_id) const;
  std::shared_ptr<LiveSession> find_number(int64_t number) const;
  std::vector<std::shared_ptr<LiveSession>> all() const;

 private:
  mutable std::mutex mutex_;
  int64_t next_number_ = 1;
  std::unordered_map<std::string, int64_t> numbers_;
  std::unordered_map<int64_t, std::shared_ptr<LiveSession>> sessions_;
};

}  // namespace mimo::coordinator
