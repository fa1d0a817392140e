// A 60-byte plan from a leader to 4 followers, each a process, and their reports back, over TCP on
// this machine. One JSON line; microseconds.
//
//   plan      send() begins -> the follower has it, per follower (one clock: CLOCK_MONOTONIC)
//   all       send() begins -> the last of the followers has it
//   round     send() begins -> collect() has every report
//
//   plan_channel_bench [num_followers] [num_plans] [pause_us]
//
// pause_us is slept between plans, as a model's step would take time; 0: one plan after another.

#include <time.h>

#include <array>
#include <cstring>
#include <thread>

#include "bench/rank_fork.h"
#include "parallel/plan_channel_tcp.h"

namespace mimo::bench {
namespace {

constexpr size_t kPlanBytes = 60;

double now_us() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) * 1e-3;
}

// Reports the time at which each plan came.
void run_follower(int32_t rank, int fd) {
  const std::string address = read_line(fd);
  auto channel = parallel::connect_plan_follower(address, rank, Epoch{1}, 10000).value();
  while (true) {
    const auto plan = channel->receive(60000);
    if (!plan.ok()) return;  // the leader is done
    const double came = now_us();
    std::array<uint8_t, sizeof(came)> report;
    std::memcpy(report.data(), &came, sizeof(came));
    channel->report(report).value();
  }
}

void run_leader(int32_t num_followers, int num_plans, int pause_us) {
  std::vector<RankProcess> ranks;
  for (int32_t r = 1; r <= num_followers; ++r) ranks.push_back(start_rank({std::to_string(r)}));
  auto listener = parallel::TcpPlanListener::open("127.0.0.1", 0).value();
  for (const RankProcess& rank : ranks) write_line(rank.fd, listener->address());
  auto leader = listener->accept_followers(num_followers + 1, Epoch{1}, 10000).value();

  std::vector<double> plan_us, all_us, round_us, send_us;
  const std::vector<uint8_t> plan(kPlanBytes, 7);
  constexpr int kWarmUp = 100;
  for (int i = 0; i < num_plans + kWarmUp; ++i) {
    const double start = now_us();
    leader->send(plan).value();
    const double sent = now_us();
    const auto reports = leader->collect(10000).value();
    const double end = now_us();
    double last = 0;
    for (const auto& report : reports) {
      double came = 0;
      CHECK_EQ(report.size(), sizeof(came));
      std::memcpy(&came, report.data(), sizeof(came));
      if (i >= kWarmUp) plan_us.push_back(came - start);
      last = std::max(last, came - start);
    }
    if (i >= kWarmUp) {
      send_us.push_back(sent - start);
      all_us.push_back(last);
      round_us.push_back(end - start);
    }
    if (pause_us > 0) std::this_thread::sleep_for(std::chrono::microseconds(pause_us));
  }
  std::printf(
      "{\"bench\":\"plan_channel\",\"followers\":%d,\"plan_bytes\":%zu,\"pause_us\":%d,"
      "\"send_median_us\":%.1f,\"plan_median_us\":%.1f,\"plan_p99_us\":%.1f,"
      "\"all_median_us\":%.1f,\"all_p99_us\":%.1f,\"round_median_us\":%.1f,"
      "\"round_p99_us\":%.1f}\n",
      num_followers, kPlanBytes, pause_us, percentile(send_us, 0.5), percentile(plan_us, 0.5),
      percentile(plan_us, 0.99), percentile(all_us, 0.5), percentile(all_us, 0.99),
      percentile(round_us, 0.5), percentile(round_us, 0.99));
  leader.reset();
  for (const RankProcess& rank : ranks) wait_rank(rank);
}

}  // namespace
}  // namespace mimo::bench

int main(int argc, char** argv) {
  if (argc == 3 && std::string(argv[0]) == "rank") {
    mimo::bench::run_follower(std::atoi(argv[1]), std::atoi(argv[2]));
    return 0;
  }
  const int num_followers = argc > 1 ? std::atoi(argv[1]) : 4;
  const int num_plans = argc > 2 ? std::atoi(argv[2]) : 2000;
  const int pause_us = argc > 3 ? std::atoi(argv[3]) : 0;
  mimo::bench::run_leader(num_followers, num_plans, pause_us);
}
