#include "cli/interrupt.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

namespace mimo::cli {
namespace {

sigset_t only_interrupts() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  return set;
}

bool take_interrupt(int signals) {
  signalfd_siginfo info;
  return read(signals, &info, sizeof(info)) == sizeof(info);
}

}  // namespace

void hold_interrupts() {
  const sigset_t set = only_interrupts();
  CHECK_EQ(pthread_sigmask(SIG_BLOCK, &set, nullptr), 0);
}

Result<std::unique_ptr<Interrupt>> Interrupt::create(std::function<void()> on_interrupt) {
  const sigset_t set = only_interrupts();
  const int signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
  if (signals < 0) return unavailable(std::string("signalfd: ") + std::strerror(errno));
  const int end = eventfd(0, EFD_CLOEXEC);
  if (end < 0) {
    const Error error = unavailable(std::string("eventfd: ") + std::strerror(errno));
    close(signals);
    return error;
  }
  while (take_interrupt(signals)) {
  }
  return std::unique_ptr<Interrupt>(new Interrupt(signals, end, std::move(on_interrupt)));
}

Interrupt::Interrupt(int signals, int end, std::function<void()> on_interrupt)
    : signals_(signals), end_(end), on_interrupt_(std::move(on_interrupt)) {
  thread_ = std::thread([this] { watch(); });
}

Interrupt::~Interrupt() {
  const uint64_t one = 1;
  CHECK_EQ(write(end_, &one, sizeof(one)), static_cast<ssize_t>(sizeof(one)));
  thread_.join();
  close(end_);
  close(signals_);
}

void Interrupt::watch() const {
  pollfd waited[2] = {{end_, POLLIN, 0}, {signals_, POLLIN, 0}};
  for (;;) {
    if (poll(waited, 2, -1) < 0) {
      CHECK_EQ(errno, EINTR);
      continue;
    }
    if (waited[0].revents != 0) return;
    while (take_interrupt(signals_)) on_interrupt_();
  }
}

}  // namespace mimo::cli
