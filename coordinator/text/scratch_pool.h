#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <thread>
#include <utility>

namespace mimo::text {

// Lends each caller a T of its own, one that was used before where there is one. Takes no lock: a
// slot is emptied and filled by one exchange, and each thread begins at a slot of its own, so it
// mostly finds what it left there.
//
// Thread:    any.
// Lifetime:  outlives its leases.
// Invariant: at most kSlots idle Ts.
template <typename T>
class ScratchPool final {
 public:
  static constexpr size_t kSlots = 32;

  ScratchPool() = default;
  ~ScratchPool() {
    for (auto& slot : slots_) delete slot.load(std::memory_order_acquire);
  }
  ScratchPool(const ScratchPool&) = delete;
  ScratchPool& operator=(const ScratchPool&) = delete;

  std::unique_ptr<T> take() {
    const size_t first = first_slot();
    for (size_t i = 0; i < kSlots; ++i) {
      auto& slot = slots_[(first + i) % kSlots];
      if (slot.load(std::memory_order_relaxed) == nullptr) continue;
      if (T* taken = slot.exchange(nullptr, std::memory_order_acq_rel)) {
        return std::unique_ptr<T>(taken);
      }
    }
    return std::make_unique<T>();
  }

  // Keeps it for the next caller; when every slot is full it is deleted.
  void give_back(std::unique_ptr<T> scratch) {
    const size_t first = first_slot();
    for (size_t i = 0; i < kSlots; ++i) {
      T* empty = nullptr;
      if (slots_[(first + i) % kSlots].compare_exchange_strong(empty, scratch.get(),
                                                               std::memory_order_acq_rel)) {
        scratch.release();
        return;
      }
    }
  }

 private:
  static size_t first_slot() { return std::hash<std::thread::id>()(std::this_thread::get_id()); }

  std::array<std::atomic<T*>, kSlots> slots_{};
};

}  // namespace mimo::text
