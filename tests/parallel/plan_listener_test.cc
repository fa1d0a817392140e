#include <gtest/gtest.h>
#include <sys/socket.h>

#include <chrono>
#include <future>
#include <random>
#include <thread>

#include "base/bytes.h"
#include "parallel/plan_channel_tcp.h"
#include "parallel/plan_handshake.h"
#include "parallel/tcp_address.h"

namespace mimo::parallel {
namespace {

using Bytes = std::vector<uint8_t>;

// A connection that says whatever it likes.
Fd raw_connection(const std::string& address) {
  const auto to = TcpAddress::parse(address).value();
  const auto abort = AbortEvent::create().value();
  return tcp_connect(to, *abort, Deadline::after_ms(10000)).value();
}

void say(const Fd& fd, std::span<const uint8_t> bytes) {
  ::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
}

std::future<Result<std::unique_ptr<PlanLeader>>> accepting(TcpPlanListener& listener, int32_t size,
                                                           int64_t timeout_ms = 20000) {
  return std::async(std::launch::async, [&listener, size, timeout_ms] {
    return listener.accept_followers(size, Epoch{9}, timeout_ms);
  });
}

TEST(TcpPlanListener, AStaleEpochIsToldAndTheRightOneStillGetsIn) {
  auto listener = TcpPlanListener::open("127.0.0.1", 0).value();
  auto leader = accepting(*listener, 2);

  const auto stale = connect_plan_follower(listener->address(), 1, Epoch{8}, 10000);
  ASSERT_FALSE(stale.ok());
  EXPECT_EQ(stale.error().code, Code::kFailedPrecondition);
  EXPECT_NE(stale.error().message.find("epoch 8, expected 9"), std::string::npos)
      << stale.error().message;

  auto right = connect_plan_follower(listener->address(), 1, Epoch{9}, 10000);
  EXPECT_TRUE(right.ok());
  EXPECT_TRUE(leader.get().ok());
}

TEST(TcpPlanListener, RanksOutOfRangeOrTakenAreTold) {
  auto listener = TcpPlanListener::open("127.0.0.1", 0).value();
  auto leader = accepting(*listener, 3);
  auto first = connect_plan_follower(listener->address(), 1, Epoch{9}, 10000);
  EXPECT_TRUE(first.ok());

  for (const int32_t rank : {-1, 0, 1, 3}) {
    const auto refused = connect_plan_follower(listener->address(), rank, Epoch{9}, 10000);
    ASSERT_FALSE(refused.ok()) << rank;
    EXPECT_EQ(refused.error().code, Code::kFailedPrecondition);
  }

  auto second = connect_plan_follower(listener->address(), 2, Epoch{9}, 10000);
  EXPECT_TRUE(second.ok());
  EXPECT_TRUE(leader.get().ok());
}

TEST(TcpPlanListener, AFollowerThatDiedWhileOthersWereAwaitedMayComeAgain) {
  auto listener = TcpPlanListener::open("127.0.0.1", 0).value();
  auto leader = accepting(*listener, 3);
  auto first = connect_plan_follower(listener->address(), 1, Epoch{9}, 10000);
  ASSERT_TRUE(first.ok());
  first.value().reset();

  // Until the listener has seen the end, the place is taken.
  Result<std::unique_ptr<PlanFollower>> again = unavailable("not tried");
  for (int tries = 0; tries < 100 && !again.ok(); ++tries) {
    again = connect_plan_follower(listener->address(), 1, Epoch{9}, 10000);
  }
  ASSERT_TRUE(again.ok()) << again.error().to_string();
  auto second = connect_plan_follower(listener->address(), 2, Epoch{9}, 10000);
  EXPECT_TRUE(second.ok());
  EXPECT_TRUE(leader.get().ok());
}

TEST(TcpPlanListener, MissingRanksAreNamedAndTheListenerGoesOn) {
  auto listener = TcpPlanListener::open("127.0.0.1", 0).value();

  const auto alone = listener->accept_followers(3, Epoch{9}, 50);
  ASSERT_FALSE(alone.ok());
  EXPECT_EQ(alone.error().code, Code::kDeadlineExceeded);
  EXPECT_NE(alone.error().message.find("rank 1, rank 2"), std::string::npos);

  auto leader = accepting(*listener, 2);
  auto follower = connect_plan_follower(listener->address(), 1, Epoch{9}, 10000);
  EXPECT_TRUE(follower.ok());
  EXPECT_TRUE(leader.get().ok());
}

TEST(TcpPlanListener, AbortEndsTheWait) {
  auto listener = TcpPlanListener::open("127.0.0.1", 0).value();
  auto leader = accepting(*listener, 2);

  listener->abort();

  EXPECT_EQ(leader.get().error().code, Code::kUnavailable);
  EXPECT_EQ(listener->accept_followers(2, Epoch{9}, 10000).error().code, Code::kUnavailable);
}

TEST(TcpPlanListener, GarbageNeverKeepsTheRightOneOut) {
  const uint32_t seed = std::random_device{}();
  std::printf("seed %u\n", seed);
  std::mt19937 random(seed);
  auto listener = TcpPlanListener::open("127.0.0.1", 0).value();
  auto leader = accepting(*listener, 2);

  std::vector<Fd> open;
  for (int i = 0; i < 150; ++i) {
    Fd fd = raw_connection(listener->address());
    Bytes bytes(random() % 64);
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
    if (random() % 3 == 0) {
      // A true beginning.
      const auto hello = PlanHello{Epoch{9}, 1, PlanHello::Verdict::kWelcome}.encode();
      bytes.assign(hello.begin(), hello.begin() + static_cast<long>(random() % hello.size()));
    }
    say(fd, bytes);
    if (random() % 2 == 0) open.push_back(std::move(fd));  // the others hang up
  }

  auto follower = connect_plan_follower(listener->address(), 1, Epoch{9}, 20000);
  EXPECT_TRUE(follower.ok()) << follower.error().to_string();
  EXPECT_TRUE(leader.get().ok());
}

// A leader with one follower that is us, without FrameSocket's manners.
struct Impostor {
  std::unique_ptr<PlanLeader> leader;
  Fd fd;
};

Impostor pose_as_follower(const TcpPlanOptions& options = {}) {
  auto listener = TcpPlanListener::open("127.0.0.1", 0, options).value();
  auto leader = accepting(*listener, 2);
  Impostor out;
  out.fd = raw_connection(listener->address());
  say(out.fd, PlanHello{Epoch{9}, 1, PlanHello::Verdict::kWelcome}.encode());
  out.leader = leader.get().value();
  return out;
}

TEST(TcpPlanLeader, AnOversizedFrameIsRefused) {
  TcpPlanOptions options;
  options.plan_bytes_max = 1000;
  Impostor impostor = pose_as_follower(options);
  ASSERT_TRUE(impostor.leader->send({}).ok());
  ByteWriter frame;
  frame.fixed(uint32_t{1001});

  say(impostor.fd, frame.bytes());

  const auto result = impostor.leader->collect(10000);
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, Code::kInternal);
  EXPECT_EQ(result.error().message, "rank 1 sent a frame of 1001 bytes, expected at most 1000");
}

TEST(TcpPlanLeader, MoreReportsThanPlansAreRefused) {
  Impostor impostor = pose_as_follower();
  ASSERT_TRUE(impostor.leader->send({}).ok());

  say(impostor.fd, Bytes(8));  // two empty reports

  const auto result = impostor.leader->collect(10000);
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, Code::kInternal);
}

TEST(TcpPlanLeader, AClaimedLengthTakesNoMemoryAndAnUnfinishedFrameIsALostPeer) {
  Impostor impostor = pose_as_follower();
  ASSERT_TRUE(impostor.leader->send({}).ok());
  ByteWriter frame;
  frame.fixed(static_cast<uint32_t>(kPlanBytesMax));
  frame.fixed(uint64_t{0});

  say(impostor.fd, frame.bytes());

  EXPECT_EQ(impostor.leader->collect(50).error().code, Code::kDeadlineExceeded);
  impostor.fd.reset();
  EXPECT_EQ(impostor.leader->collect(10000).error().code, Code::kUnavailable);
}

TEST(TcpPlanLeader, GarbageIsAnErrorAndNeverMore) {
  const uint32_t seed = std::random_device{}();
  std::printf("seed %u\n", seed);
  std::mt19937 random(seed);
  for (int round = 0; round < 50; ++round) {
    Impostor impostor = pose_as_follower();
    Bytes bytes(1 + random() % 5000);
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
    ASSERT_TRUE(impostor.leader->send(bytes).ok());

    say(impostor.fd, bytes);
    impostor.fd.reset();

    // By chance one small frame may be whole; the plan after it finds the end.
    auto result = impostor.leader->collect(10000);
    while (result.ok()) {
      const auto sent = impostor.leader->send({});
      if (!sent.ok()) result = sent.error();
      if (sent.ok()) result = impostor.leader->collect(10000);
    }
    EXPECT_TRUE(result.error().code == Code::kInternal || result.error().code == Code::kUnavailable)
        << result.error().to_string();
  }
}

TEST(ConnectPlanFollower, SaysWhatIsWrong) {
  EXPECT_EQ(connect_plan_follower("nowhere", 1, Epoch{9}, 100).error().code,
            Code::kInvalidArgument);
  EXPECT_EQ(connect_plan_follower("localhost:80", 1, Epoch{9}, 100).error().code,
            Code::kInvalidArgument);
  auto silent = tcp_listen({"127.0.0.1", 0}).value();
  const std::string address = tcp_local_address(silent).value().to_string();
  EXPECT_EQ(connect_plan_follower(address, 1, Epoch{9}, 50).error().code, Code::kDeadlineExceeded);

  silent.reset();

  EXPECT_EQ(connect_plan_follower(address, 1, Epoch{9}, 10000).error().code, Code::kUnavailable);
}

TEST(ConnectPlanFollower, AStrangersAnswerIsRefused) {
  auto stranger = tcp_listen({"127.0.0.1", 0}).value();
  const std::string address = tcp_local_address(stranger).value().to_string();
  auto follower = std::async(std::launch::async,
                             [&] { return connect_plan_follower(address, 1, Epoch{9}, 10000); });
  pollfd ready{stranger.get(), POLLIN, 0};
  ASSERT_EQ(::poll(&ready, 1, 10000), 1);
  Fd peer(::accept4(stranger.get(), nullptr, nullptr, SOCK_CLOEXEC));

  say(peer, Bytes(PlanHello::kBytes, 'x'));

  EXPECT_EQ(follower.get().error().code, Code::kInternal);
}

TEST(TcpAddress, ReadsWhatItWrites) {
  for (const char* text : {"127.0.0.1:1", "[::1]:65535", "[fe80::1%lo]:80"}) {
    EXPECT_EQ(TcpAddress::parse(text).value().to_string(), text);
  }
  for (const char* text : {"", ":", ":80", "1.2.3.4", "1.2.3.4:", "1.2.3.4:0", "1.2.3.4:65536",
                           "1.2.3.4:8x", "::1:80", "[]:80", "[::1:80", "1.2.3.4:-1"}) {
    EXPECT_FALSE(TcpAddress::parse(text).ok()) << text;
  }
}

}  // namespace
}  // namespace mimo::parallel
