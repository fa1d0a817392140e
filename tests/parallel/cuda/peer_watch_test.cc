#include "parallel/cuda/peer_watch.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <thread>

namespace mimo::parallel::cuda {
namespace {

constexpr int64_t kLongMs = 20000;

// A process that waits to be killed.
class Sleeper final {
 public:
  Sleeper() : pid_(::fork()) {
    if (pid_ == 0) {
      while (true) ::pause();
    }
  }
  ~Sleeper() { end(); }
  void end() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  void kill_only() const { ::kill(pid_, SIGKILL); }
  int32_t pid() const { return pid_; }

 private:
  pid_t pid_;
};

std::vector<RankAddress> ourselves_and(int32_t pid) {
  const RankAddress own = RankAddress::of_this_process().value();
  RankAddress peer = own;
  peer.pid = pid;
  return {own, peer};
}

std::shared_ptr<AbortEvent> make_event() { return AbortEvent::create().value(); }

TEST(PeerWatch, SeesAKilledProcessAtOnce) {
  Sleeper peer;
  auto watch = PeerWatch::create(0, ourselves_and(peer.pid()), make_event()).value();
  ASSERT_EQ(watch->num_watched(), 1);
  EXPECT_TRUE(watch->wait(0).ok());

  peer.kill_only();
  const auto begin = std::chrono::steady_clock::now();
  const auto lost = watch->wait(kLongMs);

  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
  ASSERT_FALSE(lost.ok());
  EXPECT_EQ(lost.error().code, Code::kUnavailable);
  EXPECT_EQ(lost.error().message,
            "rank 1 is lost: its process " + std::to_string(peer.pid()) + " ended");
}

TEST(PeerWatch, AProcessThatIsGoneIsNamed) {
  Sleeper peer;
  const auto addresses = ourselves_and(peer.pid());
  peer.end();

  const auto refused = PeerWatch::create(0, addresses, make_event());

  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("rank 1 is lost"), std::string::npos);
}

TEST(PeerWatch, AnAbortEndsTheWait) {
  Sleeper peer;
  const auto aborted = make_event();
  auto watch = PeerWatch::create(0, ourselves_and(peer.pid()), aborted).value();

  std::thread other([&] { aborted->set(); });
  const auto ended = watch->wait(kLongMs);
  other.join();

  ASSERT_FALSE(ended.ok());
  EXPECT_EQ(ended.error().message, "aborted");
}

TEST(PeerWatch, WhoCannotBeSeenIsNotWatched) {
  auto addresses = ourselves_and(1);
  addresses[1].pid_namespace += 1;
  addresses.push_back(addresses[1]);
  addresses[2].boot_id = "another";

  auto watch = PeerWatch::create(0, addresses, make_event()).value();

  EXPECT_EQ(watch->num_watched(), 0);
  EXPECT_TRUE(watch->wait(1).ok());
}

}  // namespace
}  // namespace mimo::parallel::cuda
