#pragma once

namespace mimo {

// Where work is queued on a device: a cudaStream_t. Empty on the CPU, whose work is done when a
// call returns.
struct Stream {
  void* handle = nullptr;
};

}  // namespace mimo
