#include "base/hex.h"

#include <gtest/gtest.h>

namespace mimo {
namespace {

TEST(Hex, EveryByteComesBack) {
  std::string bytes;
  for (int byte = 0; byte < 256; ++byte) bytes += static_cast<char>(byte);

  EXPECT_EQ(to_hex(std::string_view("\x00\x1f\xa0", 3)), "001fa0");
  EXPECT_EQ(from_hex(to_hex(bytes)), bytes);
  EXPECT_EQ(from_hex(""), "");
}

TEST(Hex, NothingElseIsTaken) {
  for (const char* text : {"0", "0g", "g0", "0A", "0x", " 0", "00 "}) {
    EXPECT_FALSE(from_hex(text).has_value()) << text;
  }
  EXPECT_FALSE(from_hex(std::string_view("\0\0", 2)).has_value());
}

}  // namespace
}  // namespace mimo
