#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "checkpoint/tokenizer_file.h"

namespace mimo::text {

using checkpoint::MergeRule;

// What one thread needs while it merges, and the pieces that it met lately.
class BpeScratch final {
 public:
  BpeScratch();
  int64_t buffer_bytes() const;  // of the buffers that grow with the longest piece

 private:
  friend class Bpe;
  // One cache line. Words of a text repeat: most pieces are answered from here.
  struct CachedPiece {
    char piece[31];
    uint8_t num_bytes = 0;  // 0: empty
    int32_t num_ids = 0;
    int32_t ids[7];
  };
  struct Link {
    int32_t previous;
    int32_t next;
    int32_t id;  // -1: merged into the one before it
    int32_t rank;
  };

  std::vector<CachedPiece> cache_;
  std::vector<Link> links_;
  std::vector<uint64_t> heap_;
};

// Byte-pair encoding of one piece: as long as two neighbours have a rule, the one of lowest rank is
// applied, the leftmost first.
//
// Thread:    any; each with a BpeScratch of its own, used with one Bpe only.
// Invariant: every byte has an id, so every piece has ids.
class Bpe final {
 public:
  // Ids are in [0, 2^31 - 1). No pair may occur twice.
  Bpe(const std::array<int32_t, 256>& byte_ids, std::span<const MergeRule> merges);

  // Appends the ids of `piece` (< 2 GiB). O(n log n) for any piece.
  void append_ids(std::string_view piece, BpeScratch* scratch, std::vector<int32_t>* out) const;

 private:
  struct Slot {
    uint64_t pair;
    int32_t rank;
    int32_t result;
  };

  const Slot* find(int32_t left, int32_t right) const;
  int32_t rank_of(int32_t left, int32_t right) const;
  void merge_short(std::string_view piece, std::vector<int32_t>* out) const;
  void merge_long(std::string_view piece, BpeScratch* scratch, std::vector<int32_t>* out) const;

  std::array<int32_t, 256> byte_ids_;
  std::vector<Slot> slots_;  // open addressing; a power of two, at most half full
  int32_t shift_ = 0;        // of a hash to a slot
};

}  // namespace mimo::text
