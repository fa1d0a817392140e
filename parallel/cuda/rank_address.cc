#include "parallel/cuda/rank_address.h"

#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "base/bytes.h"
#include "base/hash.h"

namespace mimo::parallel::cuda {
namespace {

constexpr uint32_t kMagic = 0x6d6d6772;  // "rgmm"

Error not_an_address(const std::string& why) {
  return invalid_argument("not the address of a rank on a GPU: " + why);
}

template <size_t kSize>
std::array<uint8_t, kSize> read_array(ByteReader& reader) {
  std::array<uint8_t, kSize> out = {};
  const std::span<const uint8_t> bytes = reader.raw(kSize);
  std::copy(bytes.begin(), bytes.end(), out.begin());
  return out;
}

}  // namespace

Result<RankAddress> RankAddress::of_this_process() {
  RankAddress out;
  std::ifstream boot("/proc/sys/kernel/random/boot_id");
  struct stat pid_namespace {};
  if (!(boot >> out.boot_id) || ::stat("/proc/self/ns/pid", &pid_namespace) != 0) {
    return Error{Code::kFailedPrecondition,
                 "cannot read /proc/sys/kernel/random/boot_id and /proc/self/ns/pid, which tell "
                 "ranks on the same host from others"};
  }
  out.pid_namespace = pid_namespace.st_ino;
  out.pid = ::getpid();
  return out;
}

std::string RankAddress::encode() const {
  ByteWriter body;
  body.text(boot_id);
  body.fixed(pid_namespace);
  body.fixed(pid);
  body.raw(device_uuid);
  body.raw(memory_handle);
  body.fixed(generation);
  body.fixed<uint8_t>(nccl_id.has_value());
  if (nccl_id.has_value()) body.raw(*nccl_id);
  ByteWriter out;
  out.fixed(kMagic);
  out.fixed(kVersion);
  out.fixed(hash_bytes(body.bytes()));
  out.raw(body.bytes());
  return {out.bytes().begin(), out.bytes().end()};
}

Result<RankAddress> RankAddress::decode(const std::string& bytes) {
  const std::span<const uint8_t> all(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  ByteReader reader(all);
  if (reader.fixed<uint32_t>() != kMagic) {
    return not_an_address(std::to_string(bytes.size()) + " bytes that begin otherwise");
  }
  const auto version = reader.fixed<uint32_t>();
  if (reader.ok() && version != kVersion) {
    return not_an_address("version " + std::to_string(version) + "; expected " +
                          std::to_string(kVersion));
  }
  const auto checksum = reader.fixed<uint64_t>();
  if (!reader.ok() || checksum != hash_bytes(all.subspan(all.size() - reader.remaining()))) {
    return not_an_address("its checksum is wrong");
  }
  RankAddress out;
  out.boot_id = reader.text();
  out.pid_namespace = reader.fixed<uint64_t>();
  out.pid = reader.fixed<int32_t>();
  out.device_uuid = read_array<16>(reader);
  out.memory_handle = read_array<64>(reader);
  out.generation = reader.fixed<uint64_t>();
  if (reader.fixed<uint8_t>() != 0) out.nccl_id = read_array<128>(reader);
  if (!reader.done()) return not_an_address("its length is wrong");
  return out;
}

}  // namespace mimo::parallel::cuda
