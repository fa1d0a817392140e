#include "parallel/plan_channel_tcp.h"

#include <sys/socket.h>

#include <cerrno>
#include <limits>
#include <vector>

#include "base/log.h"
#include "parallel/plan_ends_tcp.h"
#include "parallel/plan_handshake.h"
#include "parallel/tcp_address.h"

namespace mimo::parallel {
namespace {

// How long a connection may take to say its hello, and how many may be about to: more wait in the
// kernel. A follower says it at once; anything slower only takes a place.
constexpr int64_t kHelloTimeoutMs = 2000;
constexpr size_t kNewcomersMax = 64;

Result<void> validate(const TcpPlanOptions& options) {
  constexpr int64_t kMax = std::numeric_limits<uint32_t>::max();
  if (options.plan_bytes_max < 1 || options.plan_bytes_max > kMax) {
    return invalid_argument("plan_bytes_max " + std::to_string(options.plan_bytes_max) +
                            ": expected 1 .. " + std::to_string(kMax));
  }
  if (options.send_timeout_ms < 1) {
    return invalid_argument("send_timeout_ms " + std::to_string(options.send_timeout_ms) +
                            ": expected at least 1");
  }
  return {};
}

// A connection that has not said a whole hello.
struct Newcomer {
  Fd fd;
  Deadline deadline = Deadline::after_ms(kHelloTimeoutMs);
  PlanHello::Bytes bytes{};
  size_t num_read = 0;
};

// One accept_followers(): who is there, who is about to be.
class Reception final {
 public:
  Reception(const Fd& listener, const AbortEvent& abort, int32_t size, Epoch epoch)
      : listener_(listener), abort_(abort), epoch_(epoch), followers_(size - 1) {}

  // False when the deadline passed with ranks missing.
  Result<bool> run(const Deadline& deadline) {
    while (!missing().empty()) {
      if (deadline.passed()) return false;
      TRY(round(deadline));
    }
    return true;
  }

  std::string missing() const {
    std::string out;
    for (size_t i = 0; i < followers_.size(); ++i) {
      if (!followers_[i].valid())
        out += (out.empty() ? "rank " : ", rank ") + std::to_string(i + 1);
    }
    return out;
  }

  std::vector<Fd> take() { return std::move(followers_); }

 private:
  Result<void> round(const Deadline& deadline) {
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

  Result<void> accept_all() {
    while (newcomers_.size() < kNewcomersMax) {
      Fd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (fd.valid()) {
        tcp_no_delay(fd);
        newcomers_.push_back({.fd = std::move(fd)});
        continue;
      }
      // Whoever hung up before being accepted is nobody's concern.
      if (errno == EINTR || errno == ECONNABORTED) continue;
      if (errno == EAGAIN || errno == EWOULDBLOCK) return {};
      return system_error("accept", errno);
    }
    return {};
  }

  // True while the newcomer has more to say and time to say it.
  bool listen_to(Newcomer& newcomer, bool readable) {
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

  void greet(Newcomer& newcomer) {
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

  PlanHello::Verdict judge(const PlanHello& hello) const {
    if (hello.epoch != epoch_) return PlanHello::Verdict::kWrongEpoch;
    if (hello.rank < 1 || hello.rank > static_cast<int32_t>(followers_.size())) {
      return PlanHello::Verdict::kBadRank;
    }
    if (followers_[hello.rank - 1].valid()) return PlanHello::Verdict::kRankTaken;
    return PlanHello::Verdict::kWelcome;
  }

  const Fd& listener_;
  const AbortEvent& abort_;
  const Epoch epoch_;
  std::vector<Fd> followers_;  // index = rank - 1; not valid: not there
  std::vector<Newcomer> newcomers_;
};

// Sends our hello and reads the leader's. False: no whole answer before the deadline.
Result<bool> exchange_hello(const Fd& fd, const PlanHello& ours, PlanHello::Bytes& theirs,
                            const AbortEvent& abort, const Deadline& deadline) {
  const PlanHello::Bytes bytes = ours.encode();
  if (::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(bytes.size())) {
    return system_error("hello", errno);
  }
  size_t num_read = 0;
  while (num_read < theirs.size()) {
    pollfd fds[2] = {{fd.get(), POLLIN, 0}, {}};
    TRY_ASSIGN(const bool ready, poll_until(fds, abort, deadline));
    if (!ready) return false;
    const ssize_t got = ::recv(fd.get(), theirs.data() + num_read, theirs.size() - num_read, 0);
    if (got == 0) return unavailable("closed without an answer");
    if (got < 0 && errno != EAGAIN && errno != EINTR) return system_error("hello", errno);
    if (got > 0) num_read += static_cast<size_t>(got);
  }
  return true;
}

Result<void> check_answer(const PlanHello& ours, const std::optional<PlanHello>& answer) {
  if (!answer) return internal_error("its answer is not a plan channel's hello");
  const auto refused = [](const std::string& why) { return Error{Code::kFailedPrecondition, why}; };
  const std::string rank = std::to_string(ours.rank);
  switch (answer->verdict) {
    case PlanHello::Verdict::kWelcome:
      return {};
    case PlanHello::Verdict::kWrongEpoch:
      return refused("epoch " + std::to_string(ours.epoch.value) + ", expected " +
                     std::to_string(answer->epoch.value));
    case PlanHello::Verdict::kBadRank:
      return refused("rank " + rank + " is not a follower of this group");
    case PlanHello::Verdict::kRankTaken:
      return refused("rank " + rank + " is connected already");
  }
  return internal_error("unknown verdict");
}

}  // namespace

struct TcpPlanListener::State {
  Fd listener;
  std::unique_ptr<AbortEvent> aborted;
  TcpPlanOptions options;
};

TcpPlanListener::TcpPlanListener(std::unique_ptr<State> state, std::string address)
    : state_(std::move(state)), address_(std::move(address)) {}
TcpPlanListener::~TcpPlanListener() = default;

Result<std::unique_ptr<TcpPlanListener>> TcpPlanListener::open(const std::string& bind_host,
                                                               uint16_t port,
                                                               const TcpPlanOptions& options) {
  TRY(validate(options));
  auto state = std::make_unique<State>();
  state->options = options;
  TRY_ASSIGN(state->aborted, AbortEvent::create());
  TRY_ASSIGN(state->listener, tcp_listen({bind_host, port}));
  TRY_ASSIGN(const TcpAddress bound, tcp_local_address(state->listener));
  return std::unique_ptr<TcpPlanListener>(new TcpPlanListener(std::move(state), bound.to_string()));
}

Result<std::unique_ptr<PlanLeader>> TcpPlanListener::accept_followers(int32_t size, Epoch epoch,
                                                                      int64_t timeout_ms) {
  CHECK_GT(size, 0);
  Reception reception(state_->listener, *state_->aborted, size, epoch);
  TRY_ASSIGN(const bool all, reception.run(Deadline::after_ms(timeout_ms)));
  if (!all) {
    return Error{Code::kDeadlineExceeded, "plan channel of epoch " + std::to_string(epoch.value) +
                                              ": " + reception.missing() + " did not come within " +
                                              std::to_string(timeout_ms) + " ms"};
  }
  TRY_ASSIGN(auto aborted, AbortEvent::create());
  std::vector<FrameSocket> sockets;
  for (Fd& fd : reception.take()) {
    const std::string peer = "rank " + std::to_string(sockets.size() + 1);
    sockets.emplace_back(std::move(fd), peer, state_->options.plan_bytes_max);
  }
  return std::unique_ptr<PlanLeader>(
      new TcpPlanLeader(std::move(sockets), std::move(aborted), state_->options));
}

void TcpPlanListener::abort() { state_->aborted->set(); }

Result<std::unique_ptr<PlanFollower>> connect_plan_follower(const std::string& address,
                                                            int32_t rank, Epoch epoch,
                                                            int64_t timeout_ms,
                                                            const TcpPlanOptions& options) {
  TRY(validate(options));
  TRY_ASSIGN(const TcpAddress to, TcpAddress::parse(address));
  const Deadline deadline = Deadline::after_ms(timeout_ms);
  const std::string context = "plan channel of " + address;
  TRY_ASSIGN(auto aborted, AbortEvent::create());
  auto connected = tcp_connect(to, *aborted, deadline);
  if (!connected.ok()) return connected.error().with_context(context);
  const PlanHello ours{epoch, rank, PlanHello::Verdict::kWelcome};
  PlanHello::Bytes theirs{};
  const auto answered = exchange_hello(connected.value(), ours, theirs, *aborted, deadline);
  if (!answered.ok()) return answered.error().with_context(context);
  if (!answered.value()) {
    return Error{Code::kDeadlineExceeded,
                 context + ": no answer within " + std::to_string(timeout_ms) + " ms"};
  }
  if (auto checked = check_answer(ours, PlanHello::decode(theirs)); !checked.ok()) {
    return checked.error().with_context(context);
  }
  FrameSocket leader(std::move(connected).value(), "rank 0", options.plan_bytes_max);
  return std::unique_ptr<PlanFollower>(
      new TcpPlanFollower(std::move(leader), std::move(aborted), options));
}

}  // namespace mimo::parallel
