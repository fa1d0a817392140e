#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace boost::asio {
class io_context;
}

namespace mimo::http {

// Something that other threads wake.
class Wakeable {
 public:
  virtual ~Wakeable() = default;
  // On the loop's thread.
  virtual void woken() = 0;
};

// The thread that all connections belong to.
//
// Thread:    wake() and post() from any, context() for the loop's own.
// Lifetime:  the destructor stops it.
class Loop final {
 public:
  Loop();
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  void start();
  // What is posted after this is never done. Safe to call twice.
  void stop();

  // One turn of the loop wakes all that came since the last one.
  void wake(std::shared_ptr<Wakeable> who);
  void post(std::function<void()> work);
  boost::asio::io_context& context() { return *context_; }

 private:
  void wake_all();

  std::unique_ptr<boost::asio::io_context> context_;
  // A mutex: wakers go on at once, and only the first of a batch pays for a thread's wake.
  std::mutex mutex_;
  std::vector<std::shared_ptr<Wakeable>> woken_;
  std::thread thread_;
};

}  // namespace mimo::http
