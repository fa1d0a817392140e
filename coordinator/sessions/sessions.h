#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "coordinator/groups/leader_client.h"
#include "coordinator/sessions/admission.h"
#include "coordinator/sessions/generate_spec.h"
#include "coordinator/sessions/live_session.h"
#include "coordinator/sessions/request_probe.h"
#include "coordinator/sessions/session_table.h"
#include "coordinator/sessions/work_pool.h"
#include "coordinator/text/tokenizer.h"

namespace mimo::coordinator {

// Everything that runs: opens a session for each request, brings it the leader's events, and ends
// it when it is done, aborted, too slow, gone, or when its group is lost.
//
// Thread:    any. The leader's events come on one thread at a time; text longer than a few KB and
//            long prompts of many outputs are made ready on threads of its own. No call to the
//            leader is made with a session's mutex held.
// Lifetime:  admission, probe, clock, tokenizer and (from attach() on) leader outlive it.
// Invariant: every session that was opened is closed once, and its stream is woken then.
class Sessions final {
 public:
  struct Options {
    RequestLimits limits;
    int64_t stream_bytes_max = int64_t{4} << 20;  // tokens that wait for a slow reader
    double reader_grace_s = 30.0;                 // to read the rest, when nothing more comes
    int32_t tokenizer_threads = 2;
  };

  // `tokenizer` may be nullptr: ids only.
  Sessions(Options options, const text::Tokenizer* tokenizer, Admission& admission,
           RequestProbe& probe, const Clock& clock);

  // Before the first open(). why_not says why no group serves.
  void attach(LeaderClient& leader, std::function<std::string()> why_not);
  // What the leader's client calls. Lives as long as this.
  LeaderSink sink();
  bool serving() const { return serving_.load(std::memory_order_acquire); }

  // Opens a session, or closes it with the reason why not; either way its stream is woken.
  void open(const v1::GenerateRequest& request, const std::shared_ptr<LiveSession>& live);
  // The client has gone: its sequences end at the leader at once.
  void gone(LiveSession& live);
  // The stream is done with: its place is free. Once, last.
  void done(LiveSession& live);

  // Ends the request, or with nothing all of them; how many that ended.
  int32_t abort(const std::optional<std::string>& request_id);
  // Ends all with the error. The leader is not called after this; admission must be closed before.
  void stop(const RequestError& error);
  // Cuts the streams whose clients have not read their end for reader_grace_s. From time to time.
  void reap();
  struct Load {
    int64_t running_tokens = 0;  // of requests that have drawn a token: prompt and outputs
    int64_t waiting_tokens = 0;  // of those that have not
    int32_t num_streams = 0;
  };
  Load load() const;

 private:
  std::optional<RequestError> admit(const v1::GenerateRequest& request,
                                    const std::shared_ptr<LiveSession>& live);
  void launch(const std::shared_ptr<LiveSession>& live);
  Result<void> prepare(LiveSession* live, std::vector<v1::Submit>* submits);
  Result<void> submit_all(std::vector<v1::Submit> submits);
  void refuse(LiveSession& live, RequestError error);
  // `cancels` gets the sequences that must end at the leader.
  void close(LockedSession& live, std::optional<RequestError> error, std::vector<int64_t>* cancels);
  void close_all(const RequestError& error, std::vector<int64_t>* cancels);
  void count_closed(const LiveSession& live) const;
  void cancel(const std::vector<int64_t>& sequences);
  void on_events(const v1::LeaderEvents& events);
  void on_event(const v1::LeaderEvent& event, int64_t now_ns, std::vector<int64_t>* cancels);
  void time_tokens(LiveSession& live, int32_t output_idx, int32_t num_tokens, int64_t now_ns);
  void on_lost(const Error& error);
  RequestError group_error(Error error) const;
  std::string fresh_id();

  const Options options_;
  const text::Tokenizer* const tokenizer_;
  Admission& admission_;
  RequestProbe& probe_;
  const Clock& clock_;
  LeaderClient* leader_ = nullptr;
  std::function<std::string()> why_not_;
  std::atomic<bool> serving_{false};
  std::atomic<uint64_t> num_fresh_ids_{0};
  uint64_t id_base_;
  SessionTable table_;
  std::vector<std::shared_ptr<LiveSession>> touched_;  // the events thread's
  WorkPool tokenizers_;                                // last: its threads use the others
};

}  // namespace mimo::coordinator
