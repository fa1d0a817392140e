#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace mimo::text {

// Offset of the first byte that is not part of well-formed UTF-8; npos when there is none.
size_t find_invalid_utf8(std::string_view bytes);

// The code point that starts at bytes[*at], and moves *at past it. `bytes` must be well-formed.
char32_t next_code_point(std::string_view bytes, size_t* at);

// The start of the code point that ends at `end` (> 0) in well-formed `bytes`.
size_t previous_code_point(std::string_view bytes, size_t end);

void append_utf8(char32_t code_point, std::string* out);

// Bytes in, well-formed UTF-8 out. What can never become a character turns into one U+FFFD for each
// maximal part of a character that it holds: the Unicode standard's recommended practice, which is
// what every common lossy decoder does.
//
// Thread:    one.
// Invariant: at most 3 bytes wait, and they begin a character that one more byte may complete.
class LossyUtf8 final {
 public:
  // Appends to `out` all that no further byte can change.
  void push(std::string_view bytes, std::string* out);
  // The bytes end here: a character begun and not ended becomes U+FFFD.
  void finish(std::string* out);

 private:
  void start(uint8_t byte, std::string* out);

  char held_[4] = {};
  int32_t num_held_ = 0;
  int32_t num_missing_ = 0;  // bytes until the character is whole
  uint8_t next_min_ = 0x80;  // what the next byte may be, both ends included
  uint8_t next_max_ = 0xbf;
};

// At most `bytes_max` bytes of well-formed UTF-8, cut where a character ends.
std::string_view utf8_prefix(std::string_view text, size_t bytes_max);

}  // namespace mimo::text
