// all_reduce of a group of processes on this machine: over UCX beside the barest thing that could
// do the same, a mesh of TCP sockets that poll. One JSON line a case; microseconds on rank 0.
//
//   group_bench [num_ranks ...]     2 and 4 if none are given

#include <poll.h>
#include <sys/socket.h>

#include <chrono>
#include <cstring>

#include "bench/rank_fork.h"
#include "parallel/ordered_sum.h"
#include "parallel/tcp_address.h"
#include "parallel/ucx_endpoint.h"

namespace mimo::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kBytes[] = {4, 1024, 16 * 1024, 64 * 1024, 256 * 1024, 1 << 20, 4 << 20};

double micros_since(Clock::time_point start) {
  return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

std::vector<std::string> swap_addresses(int fd, int32_t size, const std::string& own) {
  write_line(fd, own);
  std::vector<std::string> all;
  for (int32_t r = 0; r < size; ++r) all.push_back(read_line(fd));
  return all;
}

// Every rank sends everything to every rank, and sums.
class SocketMesh final {
 public:
  SocketMesh(int fd, int32_t rank, int32_t size) : rank_(rank), peers_(size), in_(size) {
    auto listener = parallel::tcp_listen({"127.0.0.1", 0}).value();
    const auto own = parallel::tcp_local_address(listener).value().to_string();
    const auto addresses = swap_addresses(fd, size, own);
    const auto abort = parallel::AbortEvent::create().value();
    const auto deadline = parallel::Deadline::after_ms(10000);
    for (int32_t r = 0; r < rank; ++r) {
      const auto to = parallel::TcpAddress::parse(addresses[r]).value();
      peers_[r] = parallel::tcp_connect(to, *abort, deadline).value();
      CHECK_EQ(::send(peers_[r].get(), &rank, sizeof(rank), 0), ssize_t{sizeof(rank)});
    }
    for (int32_t i = rank + 1; i < size; ++i) {
      pollfd ready{listener.get(), POLLIN, 0};
      CHECK_EQ(::poll(&ready, 1, 10000), 1);
      parallel::Fd peer(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
      int32_t who = 0;
      CHECK_EQ(::recv(peer.get(), &who, sizeof(who), MSG_WAITALL), ssize_t{sizeof(who)});
      parallel::tcp_no_delay(peer);
      peers_[who] = std::move(peer);
    }
  }

  void all_reduce(std::vector<float>& data) {
    const size_t bytes = data.size() * sizeof(float);
    std::vector<size_t> sent(peers_.size()), got(peers_.size());
    std::vector<const void*> inputs;
    for (size_t r = 0; r < peers_.size(); ++r) {
      in_[r].resize(bytes);
      const bool own = static_cast<int32_t>(r) == rank_;
      inputs.push_back(own ? static_cast<const void*>(data.data()) : in_[r].data());
      if (own) sent[r] = got[r] = bytes;
    }
    const char* out = reinterpret_cast<const char*>(data.data());
    while (true) {
      std::vector<pollfd> waiting;
      for (size_t r = 0; r < peers_.size(); ++r) {
        const int fd = peers_[r].get();
        if (sent[r] < bytes)
          step(::send(fd, out + sent[r], bytes - sent[r], MSG_DONTWAIT), sent[r]);
        if (got[r] < bytes) {
          step(::recv(fd, in_[r].data() + got[r], bytes - got[r], MSG_DONTWAIT), got[r]);
        }
        const int events = (sent[r] < bytes ? POLLOUT : 0) | (got[r] < bytes ? POLLIN : 0);
        if (events != 0) waiting.push_back({fd, static_cast<int16_t>(events), 0});
      }
      if (waiting.empty()) break;
      CHECK_GT(::poll(waiting.data(), waiting.size(), 10000), 0);
    }
    parallel::ordered_sum(DType::kF32, inputs, data.data(), static_cast<int64_t>(data.size()));
  }

 private:
  static void step(ssize_t moved, size_t& at) {
    CHECK(moved > 0 || errno == EAGAIN);
    if (moved > 0) at += static_cast<size_t>(moved);
  }

  int32_t rank_;
  std::vector<parallel::Fd> peers_;
  std::vector<std::vector<char>> in_;
};

template <typename AllReduce>
void measure(const char* name, int32_t rank, int32_t size, const AllReduce& all_reduce) {
  for (const int64_t bytes : kBytes) {
    std::vector<float> data(static_cast<size_t>(bytes) / sizeof(float), 0.0f);
    const int num_rounds = bytes <= 64 * 1024 ? 2000 : 200;
    std::vector<double> times;
    for (int i = 0; i < num_rounds + 100; ++i) {
      const auto start = Clock::now();
      all_reduce(data);
      if (i >= 100) times.push_back(micros_since(start));
    }
    if (rank != 0) continue;
    std::printf(
        "{\"bench\":\"all_reduce\",\"way\":\"%s\",\"ranks\":%d,\"bytes\":%lld,"
        "\"median_us\":%.1f,\"p99_us\":%.1f}\n",
        name, size, static_cast<long long>(bytes), percentile(times, 0.5), percentile(times, 0.99));
    std::fflush(stdout);
  }
}

void run_rank(int32_t rank, int32_t size, int fd) {
  {
    parallel::UcxEndpoint::Options options;
    options.bind_host = "127.0.0.1";
    auto endpoint = parallel::UcxEndpoint::open(options).value();
    const auto addresses = swap_addresses(fd, size, endpoint->address());
    auto group = endpoint->form(rank, addresses, Epoch{1}).value();
    measure("ucx", rank, size, [&](std::vector<float>& data) {
      const auto count = static_cast<int64_t>(data.size());
      group->all_reduce(DType::kF32, data.data(), count, {}).value();
    });
  }
  SocketMesh mesh(fd, rank, size);
  measure("sockets", rank, size, [&](std::vector<float>& data) { mesh.all_reduce(data); });
}

void run_all(int32_t size) {
  std::vector<RankProcess> ranks;
  for (int32_t r = 0; r < size; ++r) {
    ranks.push_back(start_rank({std::to_string(r), std::to_string(size)}));
  }
  share_lines(ranks);  // UCX
  share_lines(ranks);  // sockets
  for (const RankProcess& rank : ranks) wait_rank(rank);
}

}  // namespace
}  // namespace mimo::bench

int main(int argc, char** argv) {
  if (argc == 4 && std::string(argv[0]) == "rank") {
    mimo::bench::run_rank(std::atoi(argv[1]), std::atoi(argv[2]), std::atoi(argv[3]));
    return 0;
  }
  std::vector<int32_t> sizes;
  for (int i = 1; i < argc; ++i) sizes.push_back(std::atoi(argv[i]));
  if (sizes.empty()) sizes = {2, 4};
  for (const int32_t size : sizes) mimo::bench::run_all(size);
}
