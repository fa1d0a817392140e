#pragma once

#include <cstdint>

namespace mimo::parallel::cuda {

// Ranks that can read each other's memory: those of one host.
constexpr int32_t kPeersMax = 8;

// Ways to add over ranks.
//   kOneShot: every rank reads all of every peer's data. One meeting, (size - 1) * bytes in.
//   kTwoShot: every rank adds its share and reads the others' sums. Two meetings, about 2 * bytes.
//   kNccl:    over three ranks and more NCCL rounds bf16 at every hop. Equal on all ranks
//             nevertheless.
enum class Algorithm : uint8_t { kOneShot, kTwoShot, kNccl };
const char* algorithm_name(Algorithm algorithm);  // "one_shot", "two_shot", "nccl"

// Two H200s over NVLink (bench/results): one shot 3.7 us at 8 KB and 34 us at 8 MB, two shots 6.3
// and 36, NCCL 6.4 and 45; from 16 MB on NCCL is as fast. More ranks have not been measured: there
// it is where published figures of an H100 and its NVSwitch cross.
constexpr int64_t kOneShotBytesMax = 256 * 1024;
constexpr int64_t kOneShotBytesMaxOfTwo = 8 * 1024 * 1024;
constexpr int64_t kTwoShotBytesMax = 8 * 1024 * 1024;
constexpr int64_t kPeerGatherBytesMax = 8 * 1024 * 1024;  // of one rank

// For a sum of `bytes` over `size` ranks. The same on every rank.
Algorithm choose_all_reduce(int32_t size, int64_t bytes, bool peer_access);
// True: over peer memory. `bytes` are one rank's.
bool gather_by_peers(int32_t size, int64_t bytes, bool peer_access);

}  // namespace mimo::parallel::cuda
