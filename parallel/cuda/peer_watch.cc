#include "parallel/cuda/peer_watch.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/log.h"

namespace mimo::parallel::cuda {
namespace {

int open_pidfd(int32_t pid) { return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)); }

}  // namespace

Error PeerWatch::Process::gone() const {
  return unavailable("rank " + std::to_string(rank) + " is lost: its process " +
                     std::to_string(pid) + " ended");
}

Result<std::unique_ptr<PeerWatch>> PeerWatch::create(int32_t rank,
                                                     const std::vector<RankAddress>& addresses,
                                                     std::shared_ptr<AbortEvent> aborted) {
  std::unique_ptr<PeerWatch> out(new PeerWatch(std::move(aborted)));
  const RankAddress& own = addresses[static_cast<size_t>(rank)];
  for (size_t r = 0; r < addresses.size(); ++r) {
    const RankAddress& peer = addresses[r];
    if (static_cast<int32_t>(r) == rank || (own.sees_process(peer) && peer.pid == own.pid)) {
      continue;  // ourselves
    }
    const char* unseen = "it is in another process namespace";
    if (!own.same_host(peer)) unseen = "it is on another host";
    if (own.sees_process(peer)) {
      Process process{static_cast<int32_t>(r), peer.pid, Fd(open_pidfd(peer.pid))};
      if (!process.fd.valid() && errno == ESRCH) return process.gone();
      unseen = std::strerror(errno);
      if (process.fd.valid()) {
        out->processes_.push_back(std::move(process));
        continue;
      }
    }
    log_info("peer_not_watched", {{"rank", rank}, {"peer", r}, {"reason", unseen}});
  }
  for (const Process& process : out->processes_) {
    out->polled_.push_back({process.fd.get(), POLLIN, 0});
  }
  out->polled_.emplace_back();
  return out;
}

Result<void> PeerWatch::wait(int64_t timeout_ms) {
  TRY_ASSIGN(const bool ready, poll_until(polled_, *aborted_, Deadline::after_ms(timeout_ms)));
  if (!ready) return {};
  for (size_t i = 0; i < processes_.size(); ++i) {
    if (polled_[i].revents != 0) return processes_[i].gone();
  }
  return {};
}

}  // namespace mimo::parallel::cuda
