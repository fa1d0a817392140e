#include "tests/coordinator/http/http_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>

#include "base/check.h"

namespace mimo::http {
namespace {

constexpr int kPatienceMs = 20'000;

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

}  // namespace

std::vector<std::string> Answer::events() const {
  std::vector<std::string> events;
  for (size_t at = 0; at < body.size();) {
    const size_t end = body.find("\n\n", at);
    CHECK(body.compare(at, 6, "data: ") == 0);
    CHECK(end != std::string::npos);
    events.push_back(body.substr(at + 6, end - at - 6));
    at = end + 2;
  }
  return events;
}

HttpClient::HttpClient(const std::string& address, int32_t receive_bytes) {
  const size_t colon = address.rfind(':');
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<uint16_t>(std::atoi(address.c_str() + colon + 1)));
  CHECK_EQ(inet_pton(AF_INET, address.substr(0, colon).c_str(), &to.sin_addr), 1);
  fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK_GE(fd_, 0);
  if (receive_bytes > 0)
    CHECK_EQ(setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof receive_bytes), 0);
  CHECK_EQ(connect(fd_, reinterpret_cast<const sockaddr*>(&to), sizeof to), 0);
}

HttpClient::~HttpClient() { close(); }

void HttpClient::close() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

void HttpClient::end() { shutdown(fd_, SHUT_WR); }

bool HttpClient::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

bool HttpClient::receive() {
  if (ended_) return false;
  pollfd wait{fd_, POLLIN, 0};
  CHECK_EQ(poll(&wait, 1, kPatienceMs), 1);
  char bytes[65536];
  const ssize_t got = recv(fd_, bytes, sizeof bytes, 0);
  ended_ = got <= 0;
  if (!ended_) buffer_.append(bytes, static_cast<size_t>(got));
  return !ended_;
}

bool HttpClient::read_until(const std::string& text) {
  while (buffer_.find(text) == std::string::npos)
    if (!receive()) return false;
  return true;
}

bool HttpClient::at_end() { return buffer_.empty() && !receive(); }

bool HttpClient::read_body(Answer* answer) {
  if (answer->headers.contains("transfer-encoding")) {
    for (;;) {
      if (!read_until("\r\n")) return false;
      const size_t line = buffer_.find("\r\n");
      const size_t size = std::strtoul(buffer_.c_str(), nullptr, 16);
      while (buffer_.size() < line + 2 + size + 2)
        if (!receive()) return false;
      answer->body += buffer_.substr(line + 2, size);
      buffer_.erase(0, line + 2 + size + 2);
      if (size == 0) return true;
    }
  }
  if (!answer->headers.contains("content-length")) {
    while (receive()) continue;
    answer->body = std::move(buffer_);
    buffer_.clear();
    return true;
  }
  const size_t size = std::strtoul(answer->headers.at("content-length").c_str(), nullptr, 10);
  while (buffer_.size() < size)
    if (!receive()) return false;
  answer->body = buffer_.substr(0, size);
  buffer_.erase(0, size);
  return true;
}

Answer HttpClient::read(bool head_only) {
  Answer answer;
  if (!read_until("\r\n\r\n")) return answer;
  const size_t end = buffer_.find("\r\n\r\n") + 2;
  const std::string head = buffer_.substr(0, end);
  buffer_.erase(0, end + 2);
  answer.status = std::atoi(head.c_str() + head.find(' '));
  for (size_t at = head.find("\r\n") + 2; at < head.size();) {
    const size_t line = head.find("\r\n", at);
    const size_t colon = head.find(": ", at);
    CHECK_LT(colon, line);
    answer.headers[lower(head.substr(at, colon - at))] = head.substr(colon + 2, line - colon - 2);
    at = line + 2;
  }
  answer.whole = head_only || read_body(&answer);
  return answer;
}

std::string HttpClient::post_text(const std::string& path, const std::string& body,
                                  const std::string& more) {
  return "POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + more +
         "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

Answer HttpClient::get(const std::string& path) {
  CHECK(send("GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n"));
  return read();
}

Answer HttpClient::post(const std::string& path, const nlohmann::json& body,
                        const std::string& more) {
  CHECK(send(post_text(path, body.dump(), more)));
  return read();
}

}  // namespace mimo::http
