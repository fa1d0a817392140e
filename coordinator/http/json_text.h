#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace mimo::http {

// JSON written by hand, for what goes out token by token.

// `text` in quotes. What JSON must escape is escaped; other bytes pass, so that UTF-8 stays as it
// is. Bytes that are no UTF-8 become U+FFFD.
void append_quoted(std::string_view text, std::string* out);
void append_number(int64_t value, std::string* out);
// The shortest text that reads back as the same float; what JSON has no word for (infinities, NaN)
// becomes the nearest finite number, NaN null.
void append_number(float value, std::string* out);

}  // namespace mimo::http
