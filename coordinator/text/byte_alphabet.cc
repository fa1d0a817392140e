#include "coordinator/text/byte_alphabet.h"

#include <array>

#include "coordinator/text/utf8.h"

namespace mimo::text {
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
  for (size_t at = 0; at < spelled.size();) {
    const char32_t c = next_code_point(spelled, &at);
    if (c > kSpelledMax || kAlphabet.byte[c] < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(kAlphabet.byte[c]));
  }
  return bytes;
}

void append_spelling(std::string_view bytes, std::string* out) {
  for (const char c : bytes) append_utf8(kAlphabet.spelled[static_cast<uint8_t>(c)], out);
}

}  // namespace mimo::text
