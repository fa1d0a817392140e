#include "parallel/cuda/choice.h"

namespace mimo::parallel::cuda {

const char* algorithm_name(Algorithm algorithm) {
  switch (algorithm) {
    case Algorithm::kOneShot:
      return "one_shot";
    case Algorithm::kTwoShot:
      return "two_shot";
    case Algorithm::kNccl:
      return "nccl";
  }
  return "?";
}

Algorithm choose_all_reduce(int32_t size, int64_t bytes, bool peer_access) {
  if (!peer_access || size > kPeersMax) return Algorithm::kNccl;
  if (bytes <= (size == 2 ? kOneShotBytesMaxOfTwo : kOneShotBytesMax)) return Algorithm::kOneShot;
  return bytes <= kTwoShotBytesMax ? Algorithm::kTwoShot : Algorithm::kNccl;
}

bool gather_by_peers(int32_t size, int64_t bytes, bool peer_access) {
  return peer_access && size <= kPeersMax && bytes <= kPeerGatherBytesMax;
}

}  // namespace mimo::parallel::cuda
