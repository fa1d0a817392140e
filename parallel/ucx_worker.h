#pragma once

#include <ucp/api/ucp.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "parallel/ucx_endpoint.h"
#include "parallel/wait.h"

namespace mimo::parallel {

// A UCP context and its one worker.
//
// Thread:    one at a time; abort() of aborted() from any.
// Lifetime:  every ucp_ep_h made of it is closed first.
class UcxWorker final {
 public:
  static Result<std::unique_ptr<UcxWorker>> create(const UcxEndpoint::Options& options);
  ~UcxWorker();
  UcxWorker(const UcxWorker&) = delete;
  UcxWorker& operator=(const UcxWorker&) = delete;

  // Destroys worker and context, and with them every connection. Only aborted() may be used then.
  void shut();

  ucp_worker_h get() const { return worker_; }
  AbortEvent& aborted() { return *aborted_; }
  std::shared_ptr<AbortEvent> share_aborted() const { return aborted_; }

  // "ucx1:", then in hexadecimal a checksum and the packed worker address; and back.
  Result<std::string> address() const;
  static Result<std::vector<uint8_t>> parse_address(const std::string& text);

  // Makes progress until done() or the deadline (false); sleeps on the worker's event fd between.
  // kUnavailable when aborted.
  template <typename Done>
  Result<bool> progress_until(const Done& done, const Deadline& deadline) {
    int num_idle_wakes = 0;
    while (true) {
      bool idle = true;
      if (done()) return true;
      for (; ucp_worker_progress(worker_) != 0; idle = false) {
        if (done()) return true;
      }
      if (aborted_->is_set()) return unavailable("aborted");
      if (deadline.passed()) return done();
      num_idle_wakes = idle ? num_idle_wakes + 1 : 0;
      TRY(sleep(deadline, num_idle_wakes));
    }
  }

  // The same for closing: goes on after abort(), and wakes often instead of arming.
  template <typename Done>
  void drain_until(const Done& done, const Deadline& deadline) {
    while (!done() && !deadline.passed()) {
      if (ucp_worker_progress(worker_) == 0) nap();
    }
  }

 private:
  UcxWorker() = default;
  // A millisecond, or until UCX has an event.
  void nap();
  // Until something happened or the deadline has passed.
  Result<void> sleep(const Deadline& deadline, int num_idle_wakes);

  std::shared_ptr<AbortEvent> aborted_;  // with whoever may abort while a group forms
  ucp_context_h context_ = nullptr;
  ucp_worker_h worker_ = nullptr;
  int event_fd_ = -1;  // the worker's
};

// "what: UCX's reason", kUnavailable.
Error ucx_error(const std::string& what, ucs_status_t status);

}  // namespace mimo::parallel
