#include "parallel/tcp_address.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>

namespace mimo::parallel {
namespace {

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

// getaddrinfo and not inet_pton, for the scope of a link-local address ("fe80::1%eth0").
Result<SocketAddress> resolve(const TcpAddress& address) {
  addrinfo hints{};
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  const std::string port = std::to_string(address.port);
  if (const int rc = ::getaddrinfo(address.host.c_str(), port.c_str(), &hints, &list); rc != 0) {
    return invalid_argument("host \"" + address.host +
                            "\": expected a numeric address: " + ::gai_strerror(rc));
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> holder(list, ::freeaddrinfo);
  SocketAddress out;
  std::memcpy(&out.storage, list->ai_addr, list->ai_addrlen);
  out.size = list->ai_addrlen;
  return out;
}

}  // namespace

Result<TcpAddress> TcpAddress::parse(const std::string& text) {
  const Error error =
      invalid_argument("address \"" + text + "\": expected host:port, as 127.0.0.1:80 or [::1]:80");
  TcpAddress out;
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0) return error;
  out.host = text.substr(0, colon);
  if (out.host.front() == '[') {
    if (out.host.back() != ']' || out.host.size() < 3) return error;
    out.host = out.host.substr(1, out.host.size() - 2);
  } else if (out.host.find(':') != std::string::npos) {
    return error;
  }
  const char* end = text.data() + text.size();
  const auto [at, code] = std::from_chars(text.data() + colon + 1, end, out.port);
  if (code != std::errc{} || at != end || out.port == 0) return error;
  return out;
}

std::string TcpAddress::to_string() const {
  const bool v6 = host.find(':') != std::string::npos;
  return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

Result<Fd> tcp_listen(const TcpAddress& address) {
  TRY_ASSIGN(const SocketAddress to, resolve(address));
  const std::string what = "listen on " + address.to_string();
  Fd fd(::socket(to.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return system_error(what.c_str(), errno);
  // A restarted leader takes its fixed port back while old connections linger in TIME_WAIT.
  const int on = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (::bind(fd.get(), to.get(), to.size) != 0) return system_error(what.c_str(), errno);
  if (::listen(fd.get(), SOMAXCONN) != 0) return system_error(what.c_str(), errno);
  return fd;
}

Result<TcpAddress> tcp_local_address(const Fd& socket) {
  SocketAddress at;
  at.size = sizeof(at.storage);
  if (::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&at.storage), &at.size) != 0) {
    return system_error("getsockname", errno);
  }
  char host[NI_MAXHOST], port[NI_MAXSERV];
  const int rc = ::getnameinfo(at.get(), at.size, host, sizeof(host), port, sizeof(port),
                               NI_NUMERICHOST | NI_NUMERICSERV);
  if (rc != 0) return unavailable(std::string("getnameinfo: ") + ::gai_strerror(rc));
  TcpAddress out;
  out.host = host;
  std::from_chars(port, port + std::strlen(port), out.port);
  return out;
}

Result<Fd> tcp_connect(const TcpAddress& address, const AbortEvent& abort,
                       const Deadline& deadline) {
  TRY_ASSIGN(const SocketAddress to, resolve(address));
  const std::string what = "connect to " + address.to_string();
  Fd fd(::socket(to.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return system_error(what.c_str(), errno);
  tcp_no_delay(fd);
  // Interrupted or under way, the connection goes on by itself; poll tells when it is there.
  if (::connect(fd.get(), to.get(), to.size) != 0 && errno != EINPROGRESS && errno != EINTR) {
    return system_error(what.c_str(), errno);
  }
  pollfd fds[2] = {{fd.get(), POLLOUT, 0}, {}};
  TRY_ASSIGN(const bool ready, poll_until(fds, abort, deadline));
  if (!ready) return Error{Code::kDeadlineExceeded, what + ": no answer in time"};
  int reason = 0;
  socklen_t size = sizeof(reason);
  ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &reason, &size);
  if (reason != 0) return system_error(what.c_str(), reason);
  return fd;
}

void tcp_no_delay(const Fd& socket) {
  const int on = 1;
  ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

}  // namespace mimo::parallel
