#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"
#include "coordinator/http/doors.h"

namespace mimo::http {

// The OpenAI door: HTTP/1.1 on a port of its own.
//
// Thread:    any; one of its own for all connections, and a few for bodies that are large.
// Lifetime:  what `doors` refers to outlives it. The destructor stops it.
class HttpServer final {
 public:
  struct Options {
    std::string listen = "127.0.0.1:0";
    int32_t connections_max = 4096;  // further ones wait in the kernel until one is closed
    int64_t header_bytes_max = 32768;
    int64_t body_bytes_max = int64_t{16} << 20;
    double idle_timeout_s = 75.0;
    double request_timeout_s = 60.0;
    double write_timeout_s = 30.0;
    int32_t threads = 2;  // that read large bodies
  };

  // kUnavailable naming the address when it cannot be listened at.
  static Result<std::unique_ptr<HttpServer>> create(const Options& options, Doors doors);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // host:port with the port that was bound.
  const std::string& address() const { return address_; }

  // No new connections; what is being answered has `timeout_s` to end, and is cut then. Safe to
  // call twice.
  void stop(double timeout_s);

 private:
  struct Running;
  HttpServer(std::unique_ptr<Running> running, std::string address);

  std::unique_ptr<Running> running_;
  std::string address_;
};

}  // namespace mimo::http
