#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "parallel/fd.h"
#include "parallel/wait.h"

namespace mimo::parallel {

// A numeric address: "127.0.0.1:80" or "[::1]:80".
struct TcpAddress {
  std::string host;
  uint16_t port = 0;

  static Result<TcpAddress> parse(const std::string& text);
  std::string to_string() const;
};

// A non-blocking listening socket. kInvalidArgument: host is not a numeric address; kUnavailable:
// the system refused (address in use, not ours).
Result<Fd> tcp_listen(const TcpAddress& address);

// The address that a socket is bound to.
Result<TcpAddress> tcp_local_address(const Fd& socket);

// A connected, non-blocking socket with TCP_NODELAY.
Result<Fd> tcp_connect(const TcpAddress& address, const AbortEvent& abort,
                       const Deadline& deadline);

// Small frames go out at once.
void tcp_no_delay(const Fd& socket);

}  // namespace mimo::parallel
