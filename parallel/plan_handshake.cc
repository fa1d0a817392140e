#include "parallel/plan_handshake.h"

#include <algorithm>

#include "base/bytes.h"

namespace mimo::parallel {
namespace {

// "MIMOPLN1"; the last digit is the version of everything on the connection.
constexpr uint64_t kMagic = 0x314e4c504f4d494dull;

}  // namespace

PlanHello::Bytes PlanHello::encode() const {
  ByteWriter writer;
  writer.fixed(kMagic);
  writer.fixed(epoch.value);
  writer.fixed(rank);
  writer.fixed(static_cast<int32_t>(verdict));
  Bytes out;
  CHECK_EQ(writer.bytes().size(), out.size());
  std::copy(writer.bytes().begin(), writer.bytes().end(), out.begin());
  return out;
}

std::optional<PlanHello> PlanHello::decode(const Bytes& bytes) {
  ByteReader reader(bytes);
  if (reader.fixed<uint64_t>() != kMagic) return std::nullopt;
  PlanHello hello;
  hello.epoch.value = reader.fixed<int64_t>();
  hello.rank = reader.fixed<int32_t>();
  const auto verdict = reader.fixed<int32_t>();
  if (verdict < 0 || verdict > static_cast<int32_t>(Verdict::kRankTaken)) return std::nullopt;
  hello.verdict = static_cast<Verdict>(verdict);
  return hello;
}

}  // namespace mimo::parallel
