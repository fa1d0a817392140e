#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/tokenizer_file.h"

namespace mimo::text {

using checkpoint::AddedToken;

// A stretch of text: an added token, or what lies between two of them.
struct Segment {
  int32_t id = -1;  // -1: ordinary text
  size_t begin = 0;
  size_t end = 0;
};

// Finds added tokens: of those that start leftmost the longest, then on from its end.
//
// Thread: any.
class AddedTokenMatcher final {
 public:
  // Each token with the bytes to look for: not empty, no two alike.
  struct Pattern {
    AddedToken token;
    std::string bytes;
  };
  explicit AddedTokenMatcher(std::vector<Pattern> patterns);

  // Sets `segments` to the whole of `utf8` (well-formed), in order.
  void split(std::string_view utf8, std::vector<Segment>* segments) const;

 private:
  // Patterns in byte order: those that share a prefix are neighbours.
  struct Range {
    size_t begin = 0;
    size_t end = 0;
  };

  const Pattern* longest_at(std::string_view utf8, size_t at) const;

  std::vector<Pattern> patterns_;
  std::array<Range, 256> by_first_byte_;
};

}  // namespace mimo::text
