#include "parallel/plan_reception.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "base/log.h"
#include "parallel/tcp_address.h"

namespace mimo::parallel {
namespace {

// How long a connection may take to say its hello, and how many may be about to: more wait in the
// kernel. A follower says it at once; anything slower only takes a place.
constexpr int64_t kHelloTimeoutMs = 2000;
constexpr size_t kNewcomersMax = 64;

}  // namespace

Result<bool> PlanReception::run(const Deadline& deadline) {
  while (!missing().empty()) {
    if (deadline.passed()) return false;
    TRY(round(deadline));
  }
  return true;
}

std::string PlanReception::missing() const {
  std::string out;
  for (size_t i = 0; i < followers_.size(); ++i) {
    if (!followers_[i].valid()) out += (out.empty() ? "rank " : ", rank ") + std::to_string(i + 1);
  }
  return out;
}

Result<void> PlanReception::round(const Deadline& deadline) {
  std::vector<pollfd> fds;
  const bool room = newcomers_.size() < kNewcomersMax;
  fds.push_back({room ? listener_.get() : -1, POLLIN, 0});
  for (const Fd& follower : followers_) fds.push_back({follower.get(), POLLIN, 0});
  // Woken for the first newcomer to run out of time, too.
  int64_t wait_ms = deadline.remaining_ms();
  for (const Newcomer& newcomer : newcomers_) {
    fds.push_back({newcomer.fd.get(), POLLIN, 0});
    wait_ms = std::min<int64_t>(wait_ms, newcomer.deadline.remaining_ms());
  }
  fds.push_back({});
  TRY(poll_until(fds, abort_, Deadline::after_ms(wait_ms)));
  // A follower says nothing before its first plan: what is readable is its end.
  for (size_t i = 0; i < followers_.size(); ++i) {
    if (fds[1 + i].revents == 0) continue;
    log_warning("plan_follower_lost", {{"rank", i + 1}, {"epoch", epoch_.value}});
    followers_[i].reset();
  }
  std::vector<Newcomer> waiting;
  for (size_t i = 0; i < newcomers_.size(); ++i) {
    const bool readable = fds[1 + followers_.size() + i].revents != 0;
    if (listen_to(newcomers_[i], readable)) waiting.push_back(std::move(newcomers_[i]));
  }
  newcomers_ = std::move(waiting);
  if (fds[0].revents != 0) return accept_all();
  return {};
}

Result<void> PlanReception::accept_all() {
  while (newcomers_.size() < kNewcomersMax) {
    Fd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (fd.valid()) {
      tcp_no_delay(fd);
      newcomers_.push_back({std::move(fd), Deadline::after_ms(kHelloTimeoutMs)});
      continue;
    }
    // Whoever hung up before being accepted is nobody's concern.
    if (errno == EINTR || errno == ECONNABORTED) continue;
    if (errno == EAGAIN || errno == EWOULDBLOCK) return {};
    return system_error("accept", errno);
  }
  return {};
}

bool PlanReception::listen_to(Newcomer& newcomer, bool readable) {
  if (readable) {
    const ssize_t got = ::recv(newcomer.fd.get(), newcomer.bytes.data() + newcomer.num_read,
                               newcomer.bytes.size() - newcomer.num_read, 0);
    if (got == 0) return false;
    if (got < 0) return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
    newcomer.num_read += static_cast<size_t>(got);
  }
  if (newcomer.num_read == newcomer.bytes.size()) {
    greet(newcomer);
    return false;
  }
  if (!newcomer.deadline.passed()) return true;
  log_warning("plan_connection_refused", {{"reason", "no hello in time"}});
  return false;
}

void PlanReception::greet(Newcomer& newcomer) {
  const auto hello = PlanHello::decode(newcomer.bytes);
  if (!hello) return log_warning("plan_connection_refused", {{"reason", "no hello of ours"}});
  const PlanHello answer{epoch_, 0, judge(*hello)};
  const PlanHello::Bytes bytes = answer.encode();
  // A connection's first bytes always fit the kernel's buffer.
  const ssize_t sent = ::send(newcomer.fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
  if (answer.verdict == PlanHello::Verdict::kWelcome) {
    if (sent == static_cast<ssize_t>(bytes.size())) {
      followers_[hello->rank - 1] = std::move(newcomer.fd);
    }
    return;
  }
  log_warning("plan_connection_refused", {{"reason", static_cast<int>(answer.verdict)},
                                          {"rank", hello->rank},
                                          {"epoch", hello->epoch.value},
                                          {"expected_epoch", epoch_.value}});
}

PlanHello::Verdict PlanReception::judge(const PlanHello& hello) const {
  if (hello.epoch != epoch_) return PlanHello::Verdict::kWrongEpoch;
  if (hello.rank < 1 || hello.rank > static_cast<int32_t>(followers_.size())) {
    return PlanHello::Verdict::kBadRank;
  }
  if (followers_[hello.rank - 1].valid()) return PlanHello::Verdict::kRankTaken;
  return PlanHello::Verdict::kWelcome;
}

}  // namespace mimo::parallel
