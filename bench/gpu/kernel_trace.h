#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"

namespace mimo::bench {

// One kernel as the device ran it.
struct KernelSpan {
  std::string name;  // demangled, without parameters
  int64_t begin_ns = 0;
  int64_t end_ns = 0;
};

// Every kernel that the device runs between begin() and end(), graphs' kernels too, through CUPTI,
// which is loaded when it is asked for.
//
// Thread: one; one object a process.
class KernelTrace {
 public:
  // kUnavailable: no CUPTI here, or it may not look at the device.
  static Result<std::unique_ptr<KernelTrace>> open();
  virtual ~KernelTrace() = default;

  virtual Result<void> begin() = 0;
  // In the order of their beginning. Call when the device has nothing left to do.
  virtual Result<std::vector<KernelSpan>> end() = 0;
};

}  // namespace mimo::bench
