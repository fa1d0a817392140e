#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "parallel/fd.h"

namespace mimo::parallel {

// A TCP connection that carries frames: a 32-bit little-endian length, then as many bytes. Never
// blocks: whoever owns it polls.
//
// Thread:    one at a time; shutdown() from any thread.
// Invariant: memory held for an unfinished frame grows with the bytes that came, not with the
//            length that was claimed.
class FrameSocket final {
 public:
  // `peer` names the other side in errors: "rank 2".
  FrameSocket(Fd fd, std::string peer, int64_t frame_bytes_max);

  int fd() const { return fd_.get(); }
  const std::string& peer() const { return peer_; }

  // Reads what the kernel has, without waiting. After the peer closed: kUnavailable; what came
  // before can still be popped.
  Result<void> fill();
  // The oldest whole frame, if there is one; kInternal when the length is over the bound.
  Result<std::optional<std::vector<uint8_t>>> pop();

  // Begins a frame; its bytes are borrowed until writing() is false.
  void start_write(std::span<const uint8_t> frame);
  // Hands the kernel as much as it takes; kUnavailable when the peer is gone.
  Result<void> write_some();
  bool writing() const { return written_ < to_write_; }

  // Ends the connection in both directions; the peer sees it closed.
  void shutdown();

 private:
  Error closed() const;

  Fd fd_;
  std::string peer_;
  int64_t frame_bytes_max_;
  std::vector<uint8_t> in_;  // bytes read; those before in_at_ are popped
  size_t in_at_ = 0;
  std::array<uint8_t, sizeof(uint32_t)> head_{};  // the frame being written: its length,
  std::span<const uint8_t> body_;                 // then its bytes
  size_t to_write_ = 0;                           // of both
  size_t written_ = 0;
};

}  // namespace mimo::parallel
