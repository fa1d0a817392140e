#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include "base/units.h"

namespace mimo::parallel {

// The first bytes of a plan connection. The follower speaks first.
//
// On the wire, little-endian: magic u64, epoch i64, rank i32 (follower: its own; leader: 0),
// verdict i32 (follower: 0).
struct PlanHello {
  // What the leader thinks of a follower's hello.
  enum class Verdict : int32_t { kWelcome = 0, kWrongEpoch = 1, kBadRank = 2, kRankTaken = 3 };
  static constexpr size_t kBytes = 24;
  using Bytes = std::array<uint8_t, kBytes>;

  Epoch epoch;
  int32_t rank = 0;
  Verdict verdict = Verdict::kWelcome;

  Bytes encode() const;
  // Nothing when the magic or the verdict is unknown.
  static std::optional<PlanHello> decode(const Bytes& bytes);
};

}  // namespace mimo::parallel
