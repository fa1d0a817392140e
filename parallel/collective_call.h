#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/dtype.h"
#include "base/result.h"

namespace mimo::parallel {

// What a rank asks of the others: it must be the same on all of them.
struct CollectiveCall {
  enum class Kind : uint8_t {
    kHello = 0,
    kAllReduce = 1,
    kAllGather = 2,
    kBarrier = 3,
    kGoodbye = 4
  };

  Kind kind = Kind::kBarrier;
  DType dtype = DType::kF32;  // all_reduce only
  int64_t count = 0;          // all_reduce: elements; all_gather: bytes

  bool operator==(const CollectiveCall&) const = default;
  // "all_reduce of 5 F32", "all_gather of 16 bytes", "barrier".
  std::string to_string() const;
};

// kInvalidArgument for a dtype that cannot be summed.
Result<void> check_summable(DType dtype);

// kInternal: "rank 2 called barrier, expected all_reduce of 5 F32 as on rank 0".
Error call_mismatch(int32_t got_rank, const CollectiveCall& got, int32_t expected_rank,
                    const CollectiveCall& expected);

}  // namespace mimo::parallel
