#include "coordinator/text/utf8.h"

#include <cstring>

namespace mimo::text {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";

// What a lead byte promises: how many bytes follow, and what the first of them may be. The narrower
// ranges keep out overlong forms, surrogates and what lies past U+10FFFF.
struct Lead {
  int32_t num_following = -1;  // -1: no character starts with this byte
  uint8_t second_min = 0x80;
  uint8_t second_max = 0xbf;
};

Lead lead_of(uint8_t byte) {
  if (byte < 0x80) return {0};
  if (byte < 0xc2) return {-1};
  if (byte < 0xe0) return {1};
  if (byte == 0xe0) return {2, 0xa0, 0xbf};
  if (byte == 0xed) return {2, 0x80, 0x9f};
  if (byte < 0xf0) return {2};
  if (byte == 0xf0) return {3, 0x90, 0xbf};
  if (byte < 0xf4) return {3};
  if (byte == 0xf4) return {3, 0x80, 0x8f};
  return {-1};
}

// Bytes from `at` on that are ASCII, eight at a time.
size_t skip_ascii(std::string_view bytes, size_t at) {
  while (at + 8 <= bytes.size()) {
    uint64_t word;
    std::memcpy(&word, bytes.data() + at, 8);
    if ((word & 0x8080808080808080u) != 0) break;
    at += 8;
  }
  while (at < bytes.size() && static_cast<uint8_t>(bytes[at]) < 0x80) ++at;
  return at;
}

}  // namespace

size_t find_invalid_utf8(std::string_view bytes) {
  size_t at = skip_ascii(bytes, 0);
  while (at < bytes.size()) {
    const Lead lead = lead_of(static_cast<uint8_t>(bytes[at]));
    if (lead.num_following < 0) return at;
    if (bytes.size() - at <= static_cast<size_t>(lead.num_following)) return at;
    for (int32_t i = 1; i <= lead.num_following; ++i) {
      const auto byte = static_cast<uint8_t>(bytes[at + static_cast<size_t>(i)]);
      const uint8_t min = i == 1 ? lead.second_min : 0x80;
      const uint8_t max = i == 1 ? lead.second_max : 0xbf;
      if (byte < min || byte > max) return at;
    }
    at = skip_ascii(bytes, at + 1 + static_cast<size_t>(lead.num_following));
  }
  return std::string_view::npos;
}

char32_t next_code_point(std::string_view bytes, size_t* at) {
  const auto byte = [&](size_t i) { return static_cast<char32_t>(static_cast<uint8_t>(bytes[i])); };
  const size_t i = *at;
  const char32_t lead = byte(i);
  if (lead < 0x80) {
    *at = i + 1;
    return lead;
  }
  if (lead < 0xe0) {
    *at = i + 2;
    return (lead & 0x1f) << 6 | (byte(i + 1) & 0x3f);
  }
  if (lead < 0xf0) {
    *at = i + 3;
    return (lead & 0x0f) << 12 | (byte(i + 1) & 0x3f) << 6 | (byte(i + 2) & 0x3f);
  }
  *at = i + 4;
  return (lead & 0x07) << 18 | (byte(i + 1) & 0x3f) << 12 | (byte(i + 2) & 0x3f) << 6 |
         (byte(i + 3) & 0x3f);
}

size_t previous_code_point(std::string_view bytes, size_t end) {
  do {
    --end;
  } while ((static_cast<uint8_t>(bytes[end]) & 0xc0) == 0x80);
  return end;
}

void append_utf8(char32_t code_point, std::string* out) {
  const auto put = [out](char32_t byte) { out->push_back(static_cast<char>(byte)); };
  if (code_point < 0x80) {
    put(code_point);
  } else if (code_point < 0x800) {
    put(0xc0 | code_point >> 6);
    put(0x80 | (code_point & 0x3f));
  } else if (code_point < 0x10000) {
    put(0xe0 | code_point >> 12);
    put(0x80 | (code_point >> 6 & 0x3f));
    put(0x80 | (code_point & 0x3f));
  } else {
    put(0xf0 | code_point >> 18);
    put(0x80 | (code_point >> 12 & 0x3f));
    put(0x80 | (code_point >> 6 & 0x3f));
    put(0x80 | (code_point & 0x3f));
  }
}

void LossyUtf8::start(uint8_t byte, std::string* out) {
  const Lead lead = lead_of(byte);
  if (lead.num_following < 0) {
    out->append(kReplacement);
  } else if (lead.num_following == 0) {
    out->push_back(static_cast<char>(byte));
  } else {
    held_[0] = static_cast<char>(byte);
    num_held_ = 1;
    num_missing_ = lead.num_following;
    next_min_ = lead.second_min;
    next_max_ = lead.second_max;
  }
}

void LossyUtf8::push(std::string_view bytes, std::string* out) {
  for (const char c : bytes) {
    const auto byte = static_cast<uint8_t>(c);
    if (num_held_ > 0 && (byte < next_min_ || byte > next_max_)) finish(out);
    if (num_held_ == 0) {
      start(byte, out);
      continue;
    }
    held_[num_held_++] = c;
    next_min_ = 0x80;
    next_max_ = 0xbf;
    if (--num_missing_ == 0) {
      out->append(held_, static_cast<size_t>(num_held_));
      num_held_ = 0;
    }
  }
}

void LossyUtf8::finish(std::string* out) {
  if (num_held_ > 0) out->append(kReplacement);
  num_held_ = 0;
}

std::string_view utf8_prefix(std::string_view text, size_t bytes_max) {
  if (text.size() <= bytes_max) return text;
  size_t end = bytes_max;
  while (end > 0 && (static_cast<uint8_t>(text[end]) & 0xc0) == 0x80) --end;
  return text.substr(0, end);
}

}  // namespace mimo::text
