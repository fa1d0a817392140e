#include "base/bytes.h"

#include <gtest/gtest.h>

#include <limits>

namespace mimo {
namespace {

TEST(Bytes, ReaderGivesWhatTheWriterTook) {
  ByteWriter writer;
  const uint64_t unsigned_values[] = {
      0, 1, 127, 128, 16383, 16384, std::numeric_limits<uint64_t>::max()};
  const int64_t signed_values[] = {
      0, -1, 1, -64, 64, std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max()};
  for (const uint64_t value : unsigned_values) writer.varint(value);
  for (const int64_t value : signed_values) writer.svarint(value);
  writer.fixed(3.25f);
  writer.text("pages");
  writer.text("");

  ByteReader reader(writer.bytes());

  for (const uint64_t value : unsigned_values) EXPECT_EQ(reader.varint(), value);
  for (const int64_t value : signed_values) EXPECT_EQ(reader.svarint(), value);
  EXPECT_EQ(reader.fixed<float>(), 3.25f);
  EXPECT_EQ(reader.text(), "pages");
  EXPECT_EQ(reader.text(), "");
  EXPECT_TRUE(reader.done());
}

TEST(Bytes, EveryCutIsNoticed) {
  ByteWriter writer;
  writer.varint(300);
  writer.fixed(uint32_t{7});
  writer.text("abc");
  const auto& bytes = writer.bytes();
  for (size_t size = 0; size < bytes.size(); ++size) {
    ByteReader reader(std::span<const uint8_t>(bytes).first(size));
    reader.varint();
    reader.fixed<uint32_t>();
    reader.text();
    EXPECT_FALSE(reader.ok()) << size;
    EXPECT_EQ(reader.varint(), 0u);
    EXPECT_EQ(reader.remaining(), 0);
  }
}

TEST(Bytes, RefusesIntegersAndCountsThatAreTooLarge) {
  const std::vector<uint8_t> endless(11, 0x80);
  ByteReader too_long(endless);
  too_long.varint();
  EXPECT_FALSE(too_long.ok());

  const std::vector<uint8_t> overflow{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02};
  ByteReader too_large(overflow);
  too_large.varint();
  EXPECT_FALSE(too_large.ok());

  const std::vector<uint8_t> count{5, 1, 2, 3, 4};
  ByteReader counted(count);
  EXPECT_EQ(counted.count(), 0);
  EXPECT_FALSE(counted.ok());
}

TEST(Bytes, BytesLeftOverAreNotDone) {
  const std::vector<uint8_t> bytes{1, 2};
  ByteReader reader(bytes);
  reader.varint();
  EXPECT_TRUE(reader.ok());
  EXPECT_FALSE(reader.done());
}

}  // namespace
}  // namespace mimo
