#pragma once

#include <atomic>
#include <cstdint>

namespace mimo::node {

// What heartbeats say of a rank. Written by the thread that runs steps, read by the one that sends;
// numbers may be of neighbouring steps.
struct LiveFigures {
  std::atomic<int64_t> epoch{0};
  std::atomic<int64_t> steps{0};
  // Rank 0.
  std::atomic<int32_t> running{0};
  std::atomic<int32_t> waiting{0};
  std::atomic<int32_t> full_pages_free{0};
  std::atomic<int32_t> window_pages_free{0};

  void begin(int64_t new_epoch, int32_t full_pages, int32_t window_pages) {
    steps = 0;
    running = waiting = 0;
    full_pages_free = full_pages;
    window_pages_free = window_pages;
    epoch = new_epoch;
  }
};

}  // namespace mimo::node
