#include "checkpoint/byte_alphabet.h"

#include <array>

namespace mimo::checkpoint {
namespace {

constexpr int32_t kNumBytes = 256;
constexpr int32_t kSpelledMax = 0x143;  // the last character of the alphabet

constexpr bool stands_for_itself(int32_t byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

struct Alphabet {
  std::array<char32_t, kNumBytes> spelled{};
  std::array<int16_t, kSpelledMax + 1> byte{};  // -1: not in the alphabet

  constexpr Alphabet() {
    for (auto& b : byte) b = -1;
    char32_t next = 0x100;
    for (int32_t b = 0; b < kNumBytes; ++b) {
      spelled[static_cast<size_t>(b)] = stands_for_itself(b) ? static_cast<char32_t>(b) : next++;
      byte[spelled[static_cast<size_t>(b)]] = static_cast<int16_t>(b);
    }
  }
};

constexpr Alphabet kAlphabet;
static_assert(kAlphabet.spelled[' '] == 0x120, "a space is written as a G with a dot above");
static_assert(kAlphabet.spelled[0xad] == kSpelledMax, "the soft hyphen is the last one moved");

}  // namespace

std::optional<std::string> bytes_of_spelling(std::string_view spelled) {
  std::string bytes;
  bytes.reserve(spelled.size());
  for (size_t at = 0; at < spelled.size(); ++at) {
    char32_t c = static_cast<uint8_t>(spelled[at]);
    if (c >= 0x80) {
      // All of the alphabet is below U+0800: two bytes, 110xxxxx 10xxxxxx.
      if ((c & 0xe0) != 0xc0 || at + 1 == spelled.size()) return std::nullopt;
      c = (c & 0x1f) << 6 | (static_cast<uint8_t>(spelled[++at]) & 0x3f);
    }
    if (c > kSpelledMax || kAlphabet.byte[c] < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(kAlphabet.byte[c]));
  }
  return bytes;
}

void append_spelling(std::string_view bytes, std::string* out) {
  for (const char byte : bytes) {
    const char32_t c = kAlphabet.spelled[static_cast<uint8_t>(byte)];
    if (c < 0x80) {
      out->push_back(static_cast<char>(c));
    } else {
      out->push_back(static_cast<char>(0xc0 | c >> 6));
      out->push_back(static_cast<char>(0x80 | (c & 0x3f)));
    }
  }
}

}  // namespace mimo::checkpoint
