#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/result.h"
#include "kernels/ops.h"
#include "parallel/group_endpoint.h"

namespace mimo::node {

struct CudaDeviceInfo {
  std::string name;
  int32_t capability = 0;   // 90, 100
  int64_t total_bytes = 0;  // of its memory
  int64_t free_bytes = 0;   // of all its users
};

// One GPU, and what this process keeps on it from one group to the next.
//
// Thread:    one at a time.
// Lifetime:  outlives the Ops and the endpoints it made.
class CudaDevice {
 public:
  virtual ~CudaDevice() = default;

  virtual CudaDeviceInfo info() const = 0;
  // `memory_bytes_max`: 0 = no bound of its own. `batch_invariant`: see kernels/README.md.
  virtual Result<std::unique_ptr<kernels::Ops>> make_ops(int64_t memory_bytes_max,
                                                         bool batch_invariant) = 0;
  // This device's end of the next group.
  virtual Result<std::unique_ptr<parallel::GroupEndpoint>> open_group_endpoint(bool is_rank_0) = 0;
};

// What libmimo_cuda.so offers.
class CudaBackend {
 public:
  virtual ~CudaBackend() = default;

  // 0 where there is no GPU or no driver.
  virtual int32_t num_devices() const = 0;
  // kFailedPrecondition: no such device, or one too old.
  virtual Result<std::unique_ptr<CudaDevice>> open_device(int32_t device) = 0;
};

// The module's one symbol, "mimo_cuda_module", is one of these. `abi` comes first and is compared
// before anything else is touched.
struct CudaModuleEntry {
  const char* abi;
  // The module has its own copy of the log, which is set up here. Before the process has threads.
  CudaBackend& (*open)(const char* process, LogLevel level);
};

// The CUDA backend, found when the program runs: one build runs with and without a GPU. What has
// been loaded stays until the process ends.
class CudaModule final {
 public:
  // libmimo_cuda.so beside the program, or in lib/ there. kFailedPrecondition: it is in neither,
  // cannot be loaded (the loader's words), or belongs to another build.
  static Result<CudaBackend*> load(const std::string& process, LogLevel level);
  static Result<CudaBackend*> load_file(const std::string& path, const std::string& process,
                                        LogLevel level);
  // Names the build: both sides of the door are compiled from the same headers.
  static const char* abi();
};

}  // namespace mimo::node
