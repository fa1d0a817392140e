#include "parallel/cuda/nccl_endpoint.h"

#include <algorithm>
#include <mutex>
#include <string>
#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "kernels/cuda/cuda_check.h"
#include "parallel/cuda/nccl_comm.h"
#include "parallel/cuda/nccl_group.h"

namespace mimo::parallel::cuda {
namespace {

Result<void> check_devices(const std::vector<RankAddress>& addresses) {
  for (size_t r = 0; r < addresses.size(); ++r) {
    for (size_t s = 0; s < r; ++s) {
      if (addresses[r].same_host(addresses[s]) &&
          addresses[r].device_uuid == addresses[s].device_uuid) {
        return invalid_argument("ranks " + std::to_string(s) + " and " + std::to_string(r) +
                                " have the same device; expected one for each");
      }
    }
  }
  if (!addresses[0].nccl_id.has_value()) {
    return invalid_argument("the address of rank 0 has no NCCL id");
  }
  return {};
}

// All ranks, or none, have peer memory: 1 in `value`, on the device, where this one has it.
Result<bool> agree(bool here, int32_t* value, NcclComm& comm, OwnStream& stream,
                   const AbortEvent& aborted, const Deadline& deadline) {
  int32_t all = here ? 1 : 0;
  CUDA_CHECK(cudaMemcpyAsync(value, &all, sizeof(all), cudaMemcpyHostToDevice, stream.get()));
  TRY(comm.minimum(value, stream.get()));
  TRY(stream.drain(aborted, deadline));
  CUDA_CHECK(cudaMemcpyAsync(&all, value, sizeof(all), cudaMemcpyDeviceToHost, stream.get()));
  TRY(stream.drain(aborted, deadline));
  return all != 0;
}

Result<std::shared_ptr<int32_t>> device_int() {
  void* memory = nullptr;
  TRY(cuda_ok(cudaMalloc(&memory, sizeof(int32_t)), "cudaMalloc"));
  return std::shared_ptr<int32_t>(static_cast<int32_t*>(memory),
                                  [](int32_t* value) { (void)cudaFree(value); });
}

}  // namespace

Result<std::unique_ptr<NcclEndpoint>> NcclEndpoint::open(PeerMemory& memory,
                                                         const Options& options) {
  static std::once_flag once;
  std::call_once(once, forbid_multicast);
  TRY(cuda_ok(cudaSetDevice(memory.device()), "cudaSetDevice"));
  std::unique_ptr<NcclEndpoint> out(new NcclEndpoint(memory, options));
  TRY_ASSIGN(out->aborted_, AbortEvent::create());
  TRY_ASSIGN(RankAddress address, RankAddress::of_this_process());
  address.device_uuid = memory.device_uuid();
  address.memory_handle = memory.handle();
  address.generation = memory.generation();
  if (options.is_rank_0) {
    TRY_ASSIGN(address.nccl_id, make_nccl_id());
  }
  out->address_ = address.encode();
  return out;
}

std::function<void()> NcclEndpoint::aborter() const {
  return [aborted = aborted_] { aborted->set(); };
}

Result<std::unique_ptr<TpGroup>> NcclEndpoint::form(int32_t rank,
                                                    const std::vector<std::string>& addresses,
                                                    Epoch epoch, int64_t timeout_ms) {
  const auto size = static_cast<int32_t>(addresses.size());
  if (rank < 0 || rank >= size) {
    return invalid_argument("rank " + std::to_string(rank) + ": expected 0 .. size - 1 with " +
                            std::to_string(size) + " addresses");
  }
  if (addresses[static_cast<size_t>(rank)] != address_) {
    return invalid_argument("the address of rank " + std::to_string(rank) +
                            " is not this process's endpoint");
  }
  std::vector<RankAddress> ranks;
  for (const std::string& address : addresses) {
    auto decoded = RankAddress::decode(address);
    if (!decoded.ok()) {
      return decoded.error().with_context("rank " + std::to_string(ranks.size()));
    }
    ranks.push_back(std::move(decoded).value());
  }
  auto group = form_group(rank, ranks, timeout_ms);
  if (!group.ok()) {
    return group.error().with_context("group of epoch " + std::to_string(epoch.value));
  }
  return group;
}

Result<std::unique_ptr<TpGroup>> NcclEndpoint::form_group(int32_t rank,
                                                          const std::vector<RankAddress>& addresses,
                                                          int64_t timeout_ms) {
  const Deadline deadline = Deadline::after_ms(timeout_ms);
  const auto size = static_cast<int32_t>(addresses.size());
  TRY(cuda_ok(cudaSetDevice(memory_.device()), "cudaSetDevice"));
  uint64_t generation = 0;
  for (const RankAddress& address : addresses) {
    generation = std::max(generation, address.generation + 1);
  }
  if (generation > kGenerationMax) {
    return invalid_argument("a rank has been through " + std::to_string(generation - 1) +
                            " formations; expected less than " + std::to_string(kGenerationMax));
  }
  memory_.begin(generation);
  NcclGroupParts parts{.memory = memory_,
                       .rank = rank,
                       .size = size,
                       .timeout_ms = timeout_ms,
                       .algorithm = options_.algorithm,
                       .aborted = aborted_};
  if (size == 1) return std::unique_ptr<TpGroup>(new NcclGroup(std::move(parts)));

  TRY(check_devices(addresses));
  TRY_ASSIGN(parts.watch, PeerWatch::create(rank, addresses, aborted_));
  TRY_ASSIGN(parts.stream, OwnStream::create());
  TRY_ASSIGN(parts.barrier_memory, device_int());
  TRY_ASSIGN(parts.comm,
             NcclComm::create(*addresses[0].nccl_id, rank, size, *parts.watch, deadline));
  auto peers = PeerMappings::open(memory_, rank, addresses, timeout_ms);
  TRY_ASSIGN(const bool all_have_peers, agree(peers.ok(), parts.barrier_memory.get(), *parts.comm,
                                              *parts.stream, *aborted_, deadline));
  std::string reason = "every rank reaches every other";
  if (!peers.ok()) {
    reason = peers.error().message;
  } else if (!all_have_peers) {
    reason = "another rank cannot reach its peers";
  } else {
    parts.peers = std::move(peers).value();
  }
  log_info("group_formed", {{"rank", rank},
                            {"size", size},
                            {"generation", generation},
                            {"small_messages", parts.peers != nullptr ? "peer_memory" : "nccl"},
                            {"reason", reason},
                            {"watched_peers", parts.watch->num_watched()}});
  return std::unique_ptr<TpGroup>(new NcclGroup(std::move(parts)));
}

}  // namespace mimo::parallel::cuda
