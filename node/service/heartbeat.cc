#include "node/service/heartbeat.h"

#include <chrono>
#include <utility>

#include "base/log.h"

namespace mimo::node {

Heartbeat::Heartbeat(const LiveFigures& figures, const Clock& clock)
    : figures_(figures), clock_(clock), thread_([this] { run(); }) {}

Heartbeat::~Heartbeat() {
  {
    std::lock_guard lock(mutex_);
    closed_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Heartbeat::start(std::shared_ptr<JoinLink> link, double interval_s, double timeout_s) {
  {
    std::lock_guard lock(mutex_);
    link_ = std::move(link);
    interval_s_ = interval_s;
    timeout_s_ = timeout_s;
    heard_s_ = clock_.now_s();
  }
  changed_.notify_all();
}

void Heartbeat::stop() {
  std::lock_guard lock(mutex_);
  link_.reset();
}

void Heartbeat::heard() {
  std::lock_guard lock(mutex_);
  heard_s_ = clock_.now_s();
}

void Heartbeat::run() {
  std::unique_lock lock(mutex_);
  while (!closed_) {
    if (link_ == nullptr) {
      changed_.wait(lock);
      continue;
    }
    if (clock_.now_s() - heard_s_ > timeout_s_) {
      log_warning("coordinator_silent", {{"timeout_s", timeout_s_}});
      link_->cut();
      link_.reset();
      continue;
    }
    beat(*link_);
    changed_.wait_for(lock, std::chrono::duration<double>(interval_s_));
  }
}

void Heartbeat::beat(JoinLink& link) const {
  v1::WorkerMessage message;
  v1::Heartbeat& beat = *message.mutable_heartbeat();
  beat.set_epoch(figures_.epoch);
  beat.set_steps(figures_.steps);
  beat.set_running(figures_.running);
  beat.set_waiting(figures_.waiting);
  beat.set_full_pages_free(figures_.full_pages_free);
  beat.set_window_pages_free(figures_.window_pages_free);
  link.send(std::move(message));
}

}  // namespace mimo::node
