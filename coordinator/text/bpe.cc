#include "coordinator/text/bpe.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <functional>
#include <limits>

#include "base/check.h"

namespace mimo::text {
namespace {

constexpr uint64_t kNoPair = std::numeric_limits<uint64_t>::max();
constexpr int32_t kNoRank = std::numeric_limits<int32_t>::max();
constexpr uint64_t kMultiplier = 0x9e3779b97f4a7c15u;
constexpr size_t kCachedPieces = 4096;  // a power of two; 256 KiB, inside a core's L2

// Up to here a scan for the lowest rank beats a heap.
constexpr size_t kShortBytes = 48;

uint64_t pair_of(int32_t left, int32_t right) {
  return static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right);
}

uint64_t hash_piece(std::string_view piece) {
  uint64_t hash = piece.size() * kMultiplier;
  for (size_t at = 0; at < piece.size(); at += 8) {
    uint64_t word = 0;
    std::memcpy(&word, piece.data() + at, std::min<size_t>(8, piece.size() - at));
    hash = (hash ^ word) * kMultiplier;
    hash ^= hash >> 32;
  }
  return hash;
}

}  // namespace

BpeScratch::BpeScratch() : cache_(kCachedPieces) {}

int64_t BpeScratch::buffer_bytes() const {
  return static_cast<int64_t>(links_.capacity() * sizeof(Link) +
                              heap_.capacity() * sizeof(uint64_t));
}

Bpe::Bpe(const std::array<int32_t, 256>& byte_ids, std::span<const MergeRule> merges)
    : byte_ids_(byte_ids) {
  const size_t num_slots = std::bit_ceil(std::max<size_t>(2, merges.size() * 2));
  shift_ = 64 - std::countr_zero(num_slots);
  slots_.assign(num_slots, {kNoPair, kNoRank, 0});
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const uint64_t pair = pair_of(merges[rank].left, merges[rank].right);
    size_t at = (pair * kMultiplier) >> shift_;
    while (slots_[at].pair != kNoPair) {
      CHECK_NE(slots_[at].pair, pair);
      at = (at + 1) & (num_slots - 1);
    }
    slots_[at] = {pair, static_cast<int32_t>(rank), merges[rank].result};
  }
}

const Bpe::Slot* Bpe::find(int32_t left, int32_t right) const {
  const uint64_t pair = pair_of(left, right);
  size_t at = (pair * kMultiplier) >> shift_;
  while (slots_[at].pair != pair && slots_[at].pair != kNoPair) at = (at + 1) & (slots_.size() - 1);
  return &slots_[at];
}

int32_t Bpe::rank_of(int32_t left, int32_t right) const { return find(left, right)->rank; }

void Bpe::append_ids(std::string_view piece, BpeScratch* scratch, std::vector<int32_t>* out) const {
  if (piece.size() > kShortBytes) return merge_long(piece, scratch, out);
  if (piece.size() < 2 || piece.size() > sizeof(BpeScratch::CachedPiece::piece))
    return merge_short(piece, out);
  BpeScratch::CachedPiece& cached = scratch->cache_[hash_piece(piece) & (kCachedPieces - 1)];
  if (cached.num_bytes == piece.size() &&
      std::memcmp(cached.piece, piece.data(), piece.size()) == 0) {
    out->insert(out->end(), cached.ids, cached.ids + cached.num_ids);
    return;
  }
  const size_t first = out->size();
  merge_short(piece, out);
  const size_t num_ids = out->size() - first;
  if (num_ids > std::size(cached.ids)) return;
  cached.num_bytes = static_cast<uint8_t>(piece.size());
  cached.num_ids = static_cast<int32_t>(num_ids);
  std::memcpy(cached.piece, piece.data(), piece.size());
  std::copy_n(out->begin() + static_cast<std::ptrdiff_t>(first), num_ids, cached.ids);
}

void Bpe::merge_short(std::string_view piece, std::vector<int32_t>* out) const {
  int32_t ids[kShortBytes];
  int32_t ranks[kShortBytes];  // of the pair that starts here; the last id has none
  size_t num_ids = piece.size();
  for (size_t i = 0; i < num_ids; ++i) ids[i] = byte_ids_[static_cast<uint8_t>(piece[i])];
  for (size_t i = 0; i + 1 < num_ids; ++i) ranks[i] = rank_of(ids[i], ids[i + 1]);
  while (num_ids > 1) {
    const int32_t* lowest = std::min_element(ranks, ranks + num_ids - 1);
    if (*lowest == kNoRank) break;
    const auto at = static_cast<size_t>(lowest - ranks);
    ids[at] = find(ids[at], ids[at + 1])->result;
    std::copy(ids + at + 2, ids + num_ids, ids + at + 1);
    std::copy(ranks + at + 1, ranks + num_ids - 1, ranks + at);
    --num_ids;
    if (at > 0) ranks[at - 1] = rank_of(ids[at - 1], ids[at]);
    if (at + 1 < num_ids) ranks[at] = rank_of(ids[at], ids[at + 1]);
  }
  out->insert(out->end(), ids, ids + num_ids);
}

void Bpe::merge_long(std::string_view piece, BpeScratch* scratch, std::vector<int32_t>* out) const {
  const auto num_bytes = static_cast<int32_t>(piece.size());
  auto& links = scratch->links_;
  auto& heap = scratch->heap_;
  const auto link = [&](int32_t i) -> BpeScratch::Link& { return links[static_cast<size_t>(i)]; };
  const auto queue = [&](int32_t i) {
    const int32_t next = link(i).next;
    link(i).rank = next < num_bytes ? rank_of(link(i).id, link(next).id) : kNoRank;
    if (link(i).rank == kNoRank) return;
    heap.push_back(pair_of(link(i).rank, i));
  };

  links.resize(piece.size());
  heap.clear();
  for (int32_t i = 0; i < num_bytes; ++i)
    link(i) = {i - 1, i + 1, byte_ids_[static_cast<uint8_t>(piece[static_cast<size_t>(i)])],
               kNoRank};
  for (int32_t i = 0; i < num_bytes; ++i) queue(i);
  std::make_heap(heap.begin(), heap.end(), std::greater<>());

  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    const auto rank = static_cast<int32_t>(heap.back() >> 32);
    const auto i = static_cast<int32_t>(heap.back() & 0xffffffffu);
    heap.pop_back();
    // The pair that was queued may be gone: one of the two has merged with its other neighbour.
    if (link(i).id < 0 || link(i).rank != rank) continue;
    const int32_t next = link(i).next;
    link(i).id = find(link(i).id, link(next).id)->result;
    link(i).next = link(next).next;
    link(next).id = -1;
    if (link(i).next < num_bytes) link(link(i).next).previous = i;
    for (const int32_t changed : {link(i).previous, i}) {
      if (changed < 0) continue;
      const size_t queued = heap.size();
      queue(changed);
      if (heap.size() > queued) std::push_heap(heap.begin(), heap.end(), std::greater<>());
    }
  }
  for (int32_t i = 0; i < num_bytes; i = link(i).next) out->push_back(link(i).id);
}

}  // namespace mimo::text
