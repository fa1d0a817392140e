#pragma once

#include <functional>
#include <memory>
#include <thread>

#include "base/result.h"

namespace mimo::cli {

// Keeps SIGINT from ending the process. To be called before there are other threads, which inherit
// it.
void hold_interrupts();

// While it lives, each SIGINT calls `on_interrupt`, in a thread of its own. Interrupts must be
// held; those of before are forgotten.
//
// Thread: one; `on_interrupt` runs in another.
class Interrupt {
 public:
  static Result<std::unique_ptr<Interrupt>> create(std::function<void()> on_interrupt);
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

 private:
  Interrupt(int signals, int end, std::function<void()> on_interrupt);
  void watch() const;

  const int signals_;  // a signalfd
  const int end_;      // an eventfd
  const std::function<void()> on_interrupt_;
  std::thread thread_;
};

}  // namespace mimo::cli
