#include "coordinator/http/loop.h"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <utility>

namespace mimo::http {

namespace asio = boost::asio;

Loop::Loop() : context_(std::make_unique<asio::io_context>(1)) {}

Loop::~Loop() { stop(); }

void Loop::start() {
  thread_ = std::thread([this] {
    const auto guard = asio::make_work_guard(*context_);
    context_->run();
  });
}

void Loop::stop() {
  context_->stop();
  if (thread_.joinable()) thread_.join();
}

void Loop::wake(std::shared_ptr<Wakeable> who) {
  bool first = false;
  {
    std::lock_guard lock(mutex_);
    first = woken_.empty();
    woken_.push_back(std::move(who));
  }
  if (first) asio::post(*context_, [this] { wake_all(); });
}

void Loop::post(std::function<void()> work) { asio::post(*context_, std::move(work)); }

void Loop::wake_all() {
  std::vector<std::shared_ptr<Wakeable>> all;
  {
    std::lock_guard lock(mutex_);
    all.swap(woken_);
  }
  for (const auto& each : all) each->woken();
}

}  // namespace mimo::http
