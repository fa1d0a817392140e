#include "parallel/cuda/peer_mappings.h"

#include <cstring>
#include <string>

#include "base/log.h"

namespace mimo::parallel::cuda {
namespace {

Error no_peers(int32_t rank, const std::string& why) {
  return Error{Code::kFailedPrecondition, "rank " + std::to_string(rank) + " " + why};
}

// The ordinal by which this process knows the device; -1: it does not.
int32_t ordinal_of(const std::array<uint8_t, 16>& uuid) {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) return -1;
  for (int32_t device = 0; device < count; ++device) {
    cudaDeviceProp properties;
    if (cudaGetDeviceProperties(&properties, device) == cudaSuccess &&
        std::memcmp(&properties.uuid, uuid.data(), uuid.size()) == 0) {
      return device;
    }
  }
  return -1;
}

Result<char*> map(int32_t own_device, int32_t rank, const RankAddress& peer) {
  const int32_t peer_device = ordinal_of(peer.device_uuid);
  if (peer_device < 0) return no_peers(rank, "has a device that this process does not see");
  int can = 0;
  TRY(cuda_ok(cudaDeviceCanAccessPeer(&can, own_device, peer_device), "cudaDeviceCanAccessPeer"));
  if (can == 0) {
    return no_peers(rank, "has device " + std::to_string(peer_device) + ", which device " +
                              std::to_string(own_device) + " cannot reach");
  }
  cudaIpcMemHandle_t handle;
  std::memcpy(&handle, peer.memory_handle.data(), sizeof(handle));
  void* memory = nullptr;
  const auto opened = cuda_ok(cudaIpcOpenMemHandle(&memory, handle, cudaIpcMemLazyEnablePeerAccess),
                              "its memory's handle");
  if (!opened.ok()) return no_peers(rank, opened.error().message);
  return static_cast<char*>(memory);
}

}  // namespace

Result<std::unique_ptr<PeerMappings>> PeerMappings::open(const PeerMemory& own, int32_t rank,
                                                         const std::vector<RankAddress>& addresses,
                                                         int64_t timeout_ms) {
  const auto size = static_cast<int32_t>(addresses.size());
  if (size > kPeersMax) {
    return Error{Code::kFailedPrecondition,
                 std::to_string(size) + " ranks, peer memory is for " + std::to_string(kPeersMax)};
  }
  std::unique_ptr<PeerMappings> out(new PeerMappings(own.device()));
  PeerTable& table = out->table_;
  table.state = own.state();
  table.words = own.device_words();
  table.rank = rank;
  table.size = size;
  table.timeout_ns = timeout_ms * 1'000'000;
  table.memory[rank] = own.memory();
  for (int32_t r = 0; r < size; ++r) {
    const RankAddress& peer = addresses[static_cast<size_t>(r)];
    if (r == rank) continue;
    if (!peer.same_host(addresses[static_cast<size_t>(rank)])) {
      return no_peers(r, "is on another host");
    }
    TRY_ASSIGN(table.memory[r], map(own.device(), r, peer));
  }
  return out;
}

PeerMappings::~PeerMappings() {
  (void)cudaSetDevice(device_);
  for (int32_t r = 0; r < table_.size; ++r) {
    if (r == table_.rank || table_.memory[r] == nullptr) continue;
    const auto closed = cuda_ok(cudaIpcCloseMemHandle(table_.memory[r]), "cudaIpcCloseMemHandle");
    if (!closed.ok()) {
      log_error("peer_memory_not_closed", {{"peer", r}, {"reason", closed.error().message}});
    }
  }
}

}  // namespace mimo::parallel::cuda
