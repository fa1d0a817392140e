#include "parallel/wait.h"

#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <system_error>

namespace mimo::parallel {

Deadline Deadline::after_ms(int64_t ms) {
  // A year: far enough, and no overflow in nanoseconds.
  constexpr int64_t kMsMax = 365ll * 24 * 3600 * 1000;
  return Deadline(std::chrono::steady_clock::now() +
                  std::chrono::milliseconds(std::clamp<int64_t>(ms, 0, kMsMax)));
}

int Deadline::remaining_ms() const {
  const auto left =
      std::chrono::ceil<std::chrono::milliseconds>(at_ - std::chrono::steady_clock::now()).count();
  return static_cast<int>(std::clamp<int64_t>(left, 0, std::numeric_limits<int>::max()));
}

Result<std::unique_ptr<AbortEvent>> AbortEvent::create() {
  Fd fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!fd.valid()) return system_error("eventfd", errno);
  return std::unique_ptr<AbortEvent>(new AbortEvent(std::move(fd)));
}

void AbortEvent::set() {
  if (set_.exchange(true, std::memory_order_acq_rel)) return;
  const uint64_t one = 1;
  // The counter starts at 0 and is written once: there is room.
  CHECK_EQ(::write(fd_.get(), &one, sizeof(one)), static_cast<ssize_t>(sizeof(one)));
}

Result<bool> poll_until(std::span<pollfd> fds, const AbortEvent& abort, const Deadline& deadline) {
  CHECK(!fds.empty());
  fds.back() = {abort.fd(), POLLIN, 0};
  while (true) {
    const int num_ready = ::poll(fds.data(), fds.size(), deadline.remaining_ms());
    if (num_ready < 0 && errno == EINTR) continue;
    if (num_ready < 0) return system_error("poll", errno);
    if (abort.is_set()) return unavailable("aborted");
    if (num_ready > 0) return true;
    if (deadline.passed()) return false;
  }
}

Error system_error(const char* what, int error_number) {
  return unavailable(std::string(what) + ": " +
                     std::error_code(error_number, std::system_category()).message());
}

}  // namespace mimo::parallel
