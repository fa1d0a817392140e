#pragma once

#include <compare>
#include <cstdint>
#include <functional>

namespace mimo {

// An integer that cannot be mistaken for another kind of integer.
template <typename Tag, typename Rep>
struct StrongId {
  Rep value{};

  constexpr auto operator<=>(const StrongId&) const = default;
};

// One formation of a group. Grows with every formation; a plan of another epoch is refused.
using Epoch = StrongId<struct EpochTag, int64_t>;
// A sequence as the engine knows it, unique for the life of the engine.
using SequenceId = StrongId<struct SequenceTag, int64_t>;
// A place in the running batch, the same on every rank; 0 <= slot < max_sequences.
using SlotId = StrongId<struct SlotTag, int32_t>;
// A page of one layer group's pools, the same on every rank.
using PageId = StrongId<struct PageTag, int32_t>;

}  // namespace mimo

template <typename Tag, typename Rep>
struct std::hash<mimo::StrongId<Tag, Rep>> {
  size_t operator()(const mimo::StrongId<Tag, Rep>& id) const noexcept {
    return std::hash<Rep>{}(id.value);
  }
};
