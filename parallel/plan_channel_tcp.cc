#include "parallel/plan_channel_tcp.h"

#include <sys/socket.h>

#include <cerrno>
#include <limits>
#include <vector>

#include "parallel/plan_ends_tcp.h"
#include "parallel/plan_handshake.h"
#include "parallel/plan_reception.h"
#include "parallel/tcp_address.h"

namespace mimo::parallel {
namespace {

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
  PlanReception reception(state_->listener, *state_->aborted, size, epoch);
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
