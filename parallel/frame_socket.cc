#include "parallel/frame_socket.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/bytes.h"
#include "parallel/wait.h"

namespace mimo::parallel {
namespace {

constexpr size_t kHeadBytes = sizeof(uint32_t);
// One read: most frames are tens of bytes, and a large one should not take thousands of calls.
constexpr size_t kReadBytesMin = 4096;
constexpr size_t kReadBytesMax = 1 << 20;

}  // namespace

FrameSocket::FrameSocket(Fd fd, std::string peer, int64_t frame_bytes_max)
    : fd_(std::move(fd)), peer_(std::move(peer)), frame_bytes_max_(frame_bytes_max) {}

Error FrameSocket::closed() const { return unavailable(peer_ + " closed the plan channel"); }

Result<void> FrameSocket::fill() {
  if (in_at_ == in_.size()) {
    in_.clear();
    in_at_ = 0;
    if (in_.capacity() > 4 * kReadBytesMax) in_.shrink_to_fit();
  } else if (in_at_ > kReadBytesMax) {
    in_.erase(in_.begin(), in_.begin() + static_cast<ptrdiff_t>(in_at_));
    in_at_ = 0;
  }
  const size_t had = in_.size();
  in_.resize(had + std::clamp(had, kReadBytesMin, kReadBytesMax));
  ssize_t got = 0;
  do {
    got = ::recv(fd_.get(), in_.data() + had, in_.size() - had, 0);
  } while (got < 0 && errno == EINTR);
  const int reason = errno;
  in_.resize(had + static_cast<size_t>(std::max<ssize_t>(got, 0)));
  if (got > 0) return {};
  if (got == 0 || reason == ECONNRESET) return closed();
  if (reason == EAGAIN || reason == EWOULDBLOCK) return {};
  return system_error(("read from " + peer_).c_str(), reason);
}

Result<std::optional<std::vector<uint8_t>>> FrameSocket::pop() {
  using Popped = std::optional<std::vector<uint8_t>>;
  const auto left = std::span<const uint8_t>(in_).subspan(in_at_);
  if (left.size() < kHeadBytes) return Popped();
  const int64_t size = ByteReader(left).fixed<uint32_t>();
  if (size > frame_bytes_max_) {
    return internal_error(peer_ + " sent a frame of " + std::to_string(size) +
                          " bytes, expected at most " + std::to_string(frame_bytes_max_));
  }
  if (static_cast<int64_t>(left.size() - kHeadBytes) < size) return Popped();
  const auto frame = left.subspan(kHeadBytes, static_cast<size_t>(size));
  in_at_ += kHeadBytes + frame.size();
  return Popped(std::in_place, frame.begin(), frame.end());
}

void FrameSocket::start_write(std::span<const uint8_t> frame) {
  CHECK(!writing());
  CHECK_LE(static_cast<int64_t>(frame.size()), frame_bytes_max_);
  const auto size = static_cast<uint32_t>(frame.size());
  for (size_t i = 0; i < head_.size(); ++i) head_[i] = static_cast<uint8_t>(size >> (8 * i));
  body_ = frame;
  to_write_ = head_.size() + frame.size();
  written_ = 0;
}

Result<void> FrameSocket::write_some() {
  while (writing()) {
    const size_t head_done = std::min(written_, head_.size());
    const size_t body_done = written_ - head_done;
    iovec parts[2] = {{head_.data() + head_done, head_.size() - head_done},
                      {const_cast<uint8_t*>(body_.data()) + body_done, body_.size() - body_done}};
    msghdr message{};
    message.msg_iov = parts;
    message.msg_iovlen = 2;
    const ssize_t sent = ::sendmsg(fd_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) {
      written_ += static_cast<size_t>(sent);
      continue;
    }
    if (errno == EINTR) continue;
    if (errno == EAGAIN || errno == EWOULDBLOCK) return {};
    if (errno == EPIPE || errno == ECONNRESET) return closed();
    return system_error(("write to " + peer_).c_str(), errno);
  }
  return {};
}

void FrameSocket::shutdown() { ::shutdown(fd_.get(), SHUT_RDWR); }

}  // namespace mimo::parallel
