#include "parallel/cuda/rank_address.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <random>

namespace mimo::parallel::cuda {
namespace {

RankAddress example(bool with_id) {
  RankAddress address = RankAddress::of_this_process().value();
  for (size_t i = 0; i < 16; ++i) address.device_uuid[i] = static_cast<uint8_t>(i + 1);
  for (size_t i = 0; i < 64; ++i) address.memory_handle[i] = static_cast<uint8_t>(200 - i);
  address.generation = 7;
  if (with_id) address.nccl_id.emplace().fill(9);
  return address;
}

TEST(RankAddress, OfThisProcessSeesItself) {
  const RankAddress address = RankAddress::of_this_process().value();

  EXPECT_EQ(address.pid, ::getpid());
  EXPECT_EQ(address.boot_id.size(), 36u);
  EXPECT_NE(address.pid_namespace, 0u);
  EXPECT_TRUE(address.sees_process(address));
}

TEST(RankAddress, ComesBackAsItWas) {
  for (const bool with_id : {false, true}) {
    const RankAddress address = example(with_id);

    EXPECT_EQ(RankAddress::decode(address.encode()).value(), address);
  }
}

TEST(RankAddress, AnotherNamespaceOrHostIsNotSeen) {
  const RankAddress own = example(false);
  RankAddress contained = own, remote = own;
  contained.pid_namespace += 1;
  remote.boot_id = "another";

  EXPECT_TRUE(own.same_host(contained));
  EXPECT_FALSE(own.sees_process(contained));
  EXPECT_FALSE(own.same_host(remote));
  EXPECT_FALSE(own.sees_process(remote));
}

TEST(RankAddress, AnotherVersionIsRefusedByItsNumber) {
  std::string bytes = example(true).encode();
  bytes[4] = 2;

  const auto refused = RankAddress::decode(bytes);

  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Code::kInvalidArgument);
  EXPECT_NE(refused.error().message.find("version 2; expected 1"), std::string::npos)
      << refused.error().message;
}

TEST(RankAddress, NeitherCutNorLongerNorChangedIsTaken) {
  const std::string whole = example(true).encode();
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(RankAddress::decode(whole.substr(0, size)).ok()) << size;
  }
  EXPECT_FALSE(RankAddress::decode(whole + '\0').ok());
  for (size_t i = 0; i < whole.size(); ++i) {
    std::string changed = whole;
    changed[i] = static_cast<char>(changed[i] ^ 0x10);
    EXPECT_FALSE(RankAddress::decode(changed).ok()) << i;
  }
}

TEST(RankAddress, GarbageIsRefused) {
  const uint32_t seed = std::random_device{}();
  std::printf("seed %u\n", seed);
  std::mt19937 random(seed);
  for (int32_t i = 0; i < 1000; ++i) {
    std::string bytes(random() % 400, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    EXPECT_FALSE(RankAddress::decode(bytes).ok());
  }
  EXPECT_FALSE(RankAddress::decode("ucx1:0123").ok());
}

}  // namespace
}  // namespace mimo::parallel::cuda
