#include "coordinator/http/http_server.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <utility>
#include <vector>

#include "base/log.h"
#include "coordinator/http/connection.h"
#include "coordinator/http/endpoints.h"
#include "coordinator/http/http_probe.h"
#include "coordinator/http/loop.h"
#include "coordinator/sessions/work_pool.h"

namespace mimo::http {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

namespace {

constexpr int64_t kWorkQueueMax = 4096;
constexpr auto kTick = std::chrono::milliseconds(250);

Error cannot_listen(const std::string& listen, const error_code& why) {
  return unavailable("http.listen = \"" + listen + "\": cannot listen there: " + why.message());
}

}  // namespace

struct HttpServer::Running {
  Running(const Options& wanted, Doors doors)
      : options(wanted),
        probe(*doors.registry),
        pool(wanted.threads, kWorkQueueMax),
        endpoints(std::move(doors), loop, pool),
        acceptor(loop.context()),
        ticks(loop.context()) {
    set.handler = &endpoints;
    set.limits = {wanted.header_bytes_max, wanted.body_bytes_max, wanted.idle_timeout_s,
                  wanted.request_timeout_s, wanted.write_timeout_s};
    set.answered = [this](int32_t status) { probe.answered(status); };
    set.closed = [this] { on_closed(); };
  }

  Result<std::string> listen() {
    const std::string& address = options.listen;
    const size_t colon = address.rfind(':');
    error_code error;
    tcp::resolver resolver(loop.context());
    std::string host = address.substr(0, colon);
    if (host.size() > 2 && host.front() == '[') host = host.substr(1, host.size() - 2);
    const auto found =
        resolver.resolve(host, address.substr(colon + 1), tcp::resolver::passive, error);
    if (error || found.empty()) return cannot_listen(address, error);
    const tcp::endpoint endpoint = *found.begin();
    acceptor.open(endpoint.protocol(), error);
    if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor.bind(endpoint, error);
    if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
    if (error) return cannot_listen(address, error);
    return address.substr(0, colon + 1) + std::to_string(acceptor.local_endpoint(error).port());
  }

  void accept() {
    if (accepting || set.draining) return;
    if (static_cast<int32_t>(set.all.size()) >= options.connections_max) return;
    accepting = true;
    acceptor.async_accept([this](error_code error, tcp::socket socket) {
      accepting = false;
      if (error == asio::error::operation_aborted || set.draining) return;
      // Out of descriptors, mostly: the next tick tries again.
      if (error) return log_warning("http_accept_failed", {{"error", error.message()}});
      const auto connection = std::make_shared<Connection>(std::move(socket), set);
      set.all.insert(connection);
      probe.connections(static_cast<int32_t>(set.all.size()));
      connection->start();
      accept();
    });
  }

  void on_closed() {
    probe.connections(static_cast<int32_t>(set.all.size()));
    if (set.draining && set.all.empty()) return tell_empty();
    accept();
  }

  void tick() {
    ticks.expires_after(kTick);
    ticks.async_wait([this](error_code error) {
      if (error) return;
      const auto now = std::chrono::steady_clock::now();
      for (const auto& each : copy_of_all()) each->check_time(now);
      accept();
      tick();
    });
  }

  std::vector<std::shared_ptr<Connection>> copy_of_all() {
    return {set.all.begin(), set.all.end()};
  }

  void drain() {
    set.draining = true;
    error_code ignored;
    acceptor.close(ignored);
    for (const auto& each : copy_of_all()) each->drain();
    if (set.all.empty()) tell_empty();
  }

  void cut_all() {
    for (const auto& each : copy_of_all()) each->cut();
    ticks.cancel();
    tell_empty();
  }

  void tell_empty() {
    std::lock_guard lock(mutex);
    empty = true;
    changed.notify_all();
  }

  bool wait_empty(double seconds) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, std::chrono::duration<double>(seconds), [&] { return empty; });
  }

  const Options options;
  HttpProbe probe;
  Loop loop;
  coordinator::WorkPool pool;
  Endpoints endpoints;
  ConnectionSet set;
  tcp::acceptor acceptor;
  asio::steady_timer ticks;
  bool accepting = false;
  bool stopped = false;
  std::mutex mutex;  // guards `empty`, for which stop() waits
  std::condition_variable changed;
  bool empty = false;
};

Result<std::unique_ptr<HttpServer>> HttpServer::create(const Options& options, Doors doors) {
  auto running = std::make_unique<Running>(options, std::move(doors));
  TRY_ASSIGN(std::string address, running->listen());
  Running* r = running.get();
  r->loop.post([r] {
    r->accept();
    r->tick();
  });
  r->loop.start();
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(running), std::move(address)));
}

HttpServer::HttpServer(std::unique_ptr<Running> running, std::string address)
    : running_(std::move(running)), address_(std::move(address)) {}

HttpServer::~HttpServer() { stop(0.0); }

void HttpServer::stop(double timeout_s) {
  Running* r = running_.get();
  if (r->stopped) return;
  r->stopped = true;
  r->loop.post([r] { r->drain(); });
  if (!r->wait_empty(timeout_s)) {
    {
      std::lock_guard lock(r->mutex);
      r->empty = false;
    }
    r->loop.post([r] { r->cut_all(); });
    // Nothing waits for a client any more.
    r->wait_empty(5.0);
  }
  r->pool.stop();
  r->loop.stop();
}

}  // namespace mimo::http
