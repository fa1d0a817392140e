#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "base/result.h"

namespace mimo::parallel::cuda {

// What a rank on a GPU tells the others of itself before the group is formed.
struct RankAddress {
  static constexpr uint32_t kVersion = 1;

  // Two processes see each other's process ids when boot and namespace are the same.
  std::string boot_id;
  uint64_t pid_namespace = 0;
  int32_t pid = 0;
  std::array<uint8_t, 16> device_uuid = {};
  std::array<uint8_t, 64> memory_handle = {};  // cudaIpcMemHandle_t of its PeerMemory
  uint64_t generation = 0;                     // formations that its PeerMemory has been through
  // Rank 0's alone: where NCCL's ranks meet.
  std::optional<std::array<uint8_t, 128>> nccl_id;

  // This process on this host; the device's part is left to the caller.
  static Result<RankAddress> of_this_process();

  // Bytes with a checksum, and back: kInvalidArgument when they are none, or of another version.
  std::string encode() const;
  static Result<RankAddress> decode(const std::string& bytes);

  bool same_host(const RankAddress& other) const { return boot_id == other.boot_id; }
  bool sees_process(const RankAddress& other) const {
    return same_host(other) && pid_namespace == other.pid_namespace;
  }
  bool operator==(const RankAddress&) const = default;
};

}  // namespace mimo::parallel::cuda
