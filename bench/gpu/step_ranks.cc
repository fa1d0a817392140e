#include "bench/gpu/step_ranks.h"

#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "parallel/cuda/nccl_endpoint.h"

namespace mimo::bench {
namespace {

constexpr int64_t kTimeoutMs = 60'000;

bool write_all(int fd, const void* from, size_t size) {
  const char* at = static_cast<const char*>(from);
  while (size > 0) {
    const ssize_t done = ::write(fd, at, size);
    if (done <= 0) return false;
    at += done;
    size -= static_cast<size_t>(done);
  }
  return true;
}

bool read_all(int fd, void* to, size_t size) {
  char* at = static_cast<char*>(to);
  while (size > 0) {
    const ssize_t done = ::read(fd, at, size);
    if (done <= 0) return false;
    at += done;
    size -= static_cast<size_t>(done);
  }
  return true;
}

Result<void> send(int fd, const std::string& text) {
  const auto size = static_cast<uint32_t>(text.size());
  if (write_all(fd, &size, sizeof size) && write_all(fd, text.data(), size)) return {};
  return unavailable("a rank's process is gone");
}

Result<std::string> receive(int fd) {
  uint32_t size = 0;
  if (!read_all(fd, &size, sizeof size)) return unavailable("a rank's process is gone");
  std::string text(size, '\0');
  if (!read_all(fd, text.data(), size)) return unavailable("a rank's process is gone");
  return text;
}

struct Child {
  pid_t pid = -1;
  int fd = -1;
};

// Every rank's address, on every rank: rank 0 collects them and hands them out.
Result<std::vector<std::string>> exchange(const std::string& own, int32_t rank, int32_t tp,
                                          const std::vector<Child>& children, int to_rank0) {
  std::vector<std::string> all;
  if (rank == 0) {
    all.push_back(own);
    for (const Child& child : children) {
      TRY_ASSIGN(std::string address, receive(child.fd));
      all.push_back(std::move(address));
    }
    for (const Child& child : children) {
      for (const std::string& address : all) TRY(send(child.fd, address));
    }
    return all;
  }
  TRY(send(to_rank0, own));
  for (int32_t r = 0; r < tp; ++r) {
    TRY_ASSIGN(std::string address, receive(to_rank0));
    all.push_back(std::move(address));
  }
  return all;
}

}  // namespace

Result<void> run_ranks(int32_t tp,
                       const std::function<Result<void>(int32_t, parallel::TpGroup&)>& body) {
  std::vector<Child> children;
  int32_t rank = 0;
  int to_rank0 = -1;
  for (int32_t r = 1; r < tp && rank == 0; ++r) {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) return unavailable("socketpair");
    const pid_t pid = ::fork();
    if (pid < 0) return unavailable("fork");
    if (pid == 0) {
      ::close(ends[0]);
      rank = r;
      to_rank0 = ends[1];
    } else {
      ::close(ends[1]);
      children.push_back({pid, ends[0]});
    }
  }
  const auto serve = [&]() -> Result<void> {
    TRY_ASSIGN(const auto memory, parallel::cuda::PeerMemory::create(rank));
    TRY_ASSIGN(const auto endpoint,
               parallel::cuda::NcclEndpoint::open(
                   *memory, {.is_rank_0 = rank == 0, .algorithm = std::nullopt}));
    TRY_ASSIGN(const std::vector<std::string> addresses,
               exchange(endpoint->address(), rank, tp, children, to_rank0));
    TRY_ASSIGN(const auto group, endpoint->form(rank, addresses, Epoch{1}, kTimeoutMs));
    return body(rank, *group);
  };
  Result<void> result = serve();
  if (rank != 0) {
    if (!result.ok())
      std::fprintf(stderr, "rank %d: %s\n", rank, result.error().to_string().c_str());
    std::fflush(nullptr);
    _exit(result.ok() ? 0 : 1);
  }
  for (const Child& child : children) {
    int status = 0;
    ::waitpid(child.pid, &status, 0);
    if (result.ok() && status != 0) result = unavailable("a rank failed");
  }
  return result;
}

}  // namespace mimo::bench
