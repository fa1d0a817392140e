// all_reduce of bf16 over one process a GPU, in graphs: each of our own ways, what the group
// chooses (auto), and NCCL. Microseconds of one call, the slowest rank's median.
//
//   all_reduce_bench --ranks 2 [--out FILE --commit HASH]
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <optional>
#include <sstream>
#include <string>

#include "base/hex.h"
#include "base/log.h"
#include "bench/gpu/arguments.h"
#include "bench/gpu/graph_timer.h"
#include "bench/gpu/rows.h"
#include "bench/rank_fork.h"
#include "parallel/cuda/nccl_endpoint.h"

namespace mimo::bench {
namespace {

using parallel::cuda::Algorithm;
using parallel::cuda::NcclEndpoint;
using parallel::cuda::PeerMemory;

constexpr int64_t kBytesMin = 8 << 10;
constexpr int64_t kBytesMax = 64 << 20;
constexpr int64_t kOneShotMax = 8 << 20;  // above it is out of the question
constexpr int64_t kTimeoutMs = 60000;

struct Way {
  const char* name;
  std::optional<Algorithm> algorithm;
};
const Way kWays[] = {{"one_shot", Algorithm::kOneShot},
                     {"two_shot", Algorithm::kTwoShot},
                     {"auto", std::nullopt},
                     {"nccl", Algorithm::kNccl}};

bool measured(const Way& way, int64_t bytes) {
  return way.algorithm != Algorithm::kOneShot || bytes <= kOneShotMax;
}

// rank RANK SIZE SOCKET: says its device's name, then for each way its address, hears all, and says
// a time for each size.
int run_rank(int argc, char** argv) {
  CHECK_EQ(argc, 4);
  const int32_t rank = std::stoi(argv[1]), size = std::stoi(argv[2]), fd = std::stoi(argv[3]);
  log_configure("all_reduce_bench", LogLevel::kWarning);
  auto memory = PeerMemory::create(rank).value();
  cudaDeviceProp properties;
  CUDA_CHECK(cudaGetDeviceProperties(&properties, rank));
  write_line(fd, properties.name);
  cudaStream_t stream = nullptr;
  CUDA_CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  void* data = nullptr;
  CUDA_CHECK(cudaMalloc(&data, kBytesMax));
  CUDA_CHECK(cudaMemset(data, 0, kBytesMax));
  for (const Way& way : kWays) {
    auto endpoint =
        NcclEndpoint::open(*memory, {.is_rank_0 = rank == 0, .algorithm = way.algorithm}).value();
    write_line(fd, to_hex(endpoint->address()));
    std::vector<std::string> addresses;
    for (int32_t r = 0; r < size; ++r) addresses.push_back(from_hex(read_line(fd)).value());
    auto group = endpoint->form(rank, addresses, Epoch{1}, kTimeoutMs).value();
    for (int64_t bytes = kBytesMin; bytes <= kBytesMax; bytes *= 2) {
      if (!measured(way, bytes)) continue;
      group->barrier().value();
      const Timing time = time_in_graph(stream, bytes <= (1 << 20) ? 100 : 20, [&](int32_t) {
        group->all_reduce(DType::kBf16, data, bytes / 2, {stream}).value();
      });
      group->check().value();
      write_line(fd, std::to_string(time.us));
    }
    group->barrier().value();
  }
  return 0;
}

int run(const Arguments& arguments) {
  const int32_t size = arguments.number("ranks", 2);
  std::vector<RankProcess> ranks;
  for (int32_t r = 0; r < size; ++r) {
    ranks.push_back(start_rank({std::to_string(r), std::to_string(size)}));
  }
  std::string gpu;
  for (const RankProcess& rank : ranks) gpu = read_line(rank.fd);
  if (gpu.empty()) {
    std::fprintf(stderr, "a rank did not start; are there %d GPUs?\n", size);
    return 1;
  }
  Rows rows({{"bench", "all_reduce"},
             {"gpu", gpu},
             {"commit", arguments.text("commit", "")},
             {"date", today()},
             {"ranks", size}});
  std::map<int64_t, std::map<std::string, double>> table;
  for (const Way& way : kWays) {
    share_lines(ranks);
    for (int64_t bytes = kBytesMin; bytes <= kBytesMax; bytes *= 2) {
      if (!measured(way, bytes)) continue;
      double us = 0;
      for (const RankProcess& rank : ranks) {
        const std::string line = read_line(rank.fd);
        if (line.empty()) return 1;  // it has said why
        us = std::max(us, std::stod(line));
      }
      table[bytes][way.name] = us;
      rows.add({{"bytes", bytes}, {"kernel", way.name}, {"us", us}});
    }
  }
  for (const RankProcess& rank : ranks) wait_rank(rank);
  std::printf("%d ranks of %s, us\n%12s", size, gpu.c_str(), "bytes");
  for (const Way& way : kWays) std::printf("%10s", way.name);
  std::printf("\n");
  for (const auto& [bytes, by_way] : table) {
    std::printf("%12lld", static_cast<long long>(bytes));
    for (const Way& way : kWays) {
      const auto found = by_way.find(way.name);
      if (found == by_way.end()) {
        std::printf("%10s", "-");
      } else {
        std::printf("%10.1f", found->second);
      }
    }
    std::printf("\n");
  }
  return rows.write(arguments.text("out", "")) ? 0 : 1;
}

}  // namespace
}  // namespace mimo::bench

int main(int argc, char** argv) {
  if (std::string(argv[0]) == "rank") return mimo::bench::run_rank(argc, argv);
  const auto arguments = mimo::bench::Arguments::parse(argc, argv, {"ranks", "out", "commit"});
  return arguments.has_value() ? mimo::bench::run(*arguments) : 2;
}
