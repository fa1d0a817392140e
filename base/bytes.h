#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"

namespace mimo {

// Appends little-endian values and variable-length integers. The reader's mirror.
class ByteWriter {
 public:
  template <typename T>
  void fixed(T value) {
    static_assert(std::is_trivially_copyable_v<T>, "copied byte by byte");
    const auto* bytes = reinterpret_cast<const uint8_t*>(&value);
    bytes_.insert(bytes_.end(), bytes, bytes + sizeof(T));
  }
  // LEB128.
  void varint(uint64_t value) {
    while (value >= 0x80) {
      bytes_.push_back(static_cast<uint8_t>(value | 0x80));
      value >>= 7;
    }
    bytes_.push_back(static_cast<uint8_t>(value));
  }
  // Zigzag, for values that may be negative.
  void svarint(int64_t value) {
    varint((static_cast<uint64_t>(value) << 1) ^ static_cast<uint64_t>(value >> 63));
  }
  void raw(std::span<const uint8_t> bytes) {
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  }
  void text(const std::string& text) {
    varint(text.size());
    raw({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
  }
  const std::vector<uint8_t>& bytes() const { return bytes_; }
  std::vector<uint8_t> take() { return std::move(bytes_); }
  void clear() { bytes_.clear(); }

 private:
  std::vector<uint8_t> bytes_;
};

// Reads what a ByteWriter wrote, and survives anything else: past the end, or an integer too long,
// every further read answers zero and ok() is false. Check ok() (and done()) once, at the end;
// check a count against count_max before it sizes anything.
class ByteReader {
 public:
  explicit ByteReader(std::span<const uint8_t> bytes) : bytes_(bytes) {}

  template <typename T>
  T fixed() {
    static_assert(std::is_trivially_copyable_v<T>, "copied byte by byte");
    T value{};
    if (remaining() < static_cast<int64_t>(sizeof(T))) {
      fail();
      return value;
    }
    std::memcpy(&value, bytes_.data() + at_, sizeof(T));
    at_ += sizeof(T);
    return value;
  }
  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (remaining() < 1) break;
      const uint8_t byte = bytes_[at_++];
      if (shift == 63 && byte > 1) break;
      value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if ((byte & 0x80) == 0) return value;
    }
    fail();
    return 0;
  }
  int64_t svarint() {
    const uint64_t value = varint();
    return static_cast<int64_t>(value >> 1) ^ -static_cast<int64_t>(value & 1);
  }
  // A count of things that take at least one byte each: more than remain is a failure, so a bad
  // count never sizes an allocation.
  int64_t count() {
    const uint64_t value = varint();
    if (value > static_cast<uint64_t>(remaining())) {
      fail();
      return 0;
    }
    return static_cast<int64_t>(value);
  }
  std::span<const uint8_t> raw(int64_t size) {
    if (size < 0 || remaining() < size) {
      fail();
      return {};
    }
    const auto part = bytes_.subspan(at_, static_cast<size_t>(size));
    at_ += static_cast<size_t>(size);
    return part;
  }
  std::string text() {
    const auto part = raw(count());
    return {reinterpret_cast<const char*>(part.data()), part.size()};
  }

  bool ok() const { return ok_; }
  bool done() const { return ok_ && at_ == bytes_.size(); }
  int64_t remaining() const { return ok_ ? static_cast<int64_t>(bytes_.size() - at_) : 0; }

 private:
  void fail() { ok_ = false; }

  std::span<const uint8_t> bytes_;
  size_t at_ = 0;
  bool ok_ = true;
};

}  // namespace mimo
