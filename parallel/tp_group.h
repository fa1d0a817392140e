#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "base/result.h"
#include "base/stream.h"

namespace mimo::parallel {

// How long a rank waits for the others in one operation, unless its maker says otherwise.
constexpr int64_t kGroupTimeoutMs = 10000;

// N ranks that act as one: every rank makes the same calls, in the same order, with the same sizes.
//
// A call ends in an Error, never in a hang, when a peer is lost (kUnavailable), when a peer stays
// silent longer than the group's timeout (kDeadlineExceeded), when the ranks' calls differ in
// operation, dtype or size (kInternal: rank, expected, got) or after abort() (kUnavailable). The
// group is broken then: every later call answers the first error at once, and what the buffers hold
// is undefined.
//
// Thread:    one thread at a time makes calls; abort() from any thread.
// Lifetime:  buffers are borrowed until the call returns (CPU) or `stream` has run it (a device).
class TpGroup {
 public:
  virtual ~TpGroup() = default;

  virtual int32_t rank() const = 0;
  virtual int32_t size() const = 0;

  // In place: data becomes the sum over ranks. Added in fp32 in rank order 0 .. size-1, bf16
  // rounded once at the end, so that all ranks hold the same bits whatever the size and the count.
  //   data [count] of dtype, kF32 or kBf16 (kInvalidArgument otherwise, and nothing is broken)
  virtual Result<void> all_reduce(DType dtype, void* data, int64_t count, Stream stream) = 0;

  // Rank r's `bytes` bytes end at out + r * bytes, on every rank.
  //   in [bytes], may be its own place in out;  out [size][bytes]
  virtual Result<void> all_gather(const void* in, void* out, int64_t bytes, Stream stream) = 0;

  // Returns when every rank has called it.
  virtual Result<void> barrier() = 0;

  // The error that broke the group, if one did. On a device the calls above only queue their work:
  // what it brought counts only when this is ok after the stream has run it. Cheap.
  virtual Result<void> check() { return {}; }

  // Pending and later calls of this rank answer kUnavailable within 100 ms.
  virtual void abort() = 0;
};

}  // namespace mimo::parallel
