#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"
#include "node/engine/engine.h"
#include "node/model/rank.h"

namespace mimo::node {

// A worker's metrics, served over HTTP at /metrics. Nobody else knows their names.
//
// Thread:    begin_... and end_leading() the epoch's thread; engine_step() the engine's;
// rank_step()
//            whichever runs the rank's steps.
// Lifetime:  the endpoint is open from create() to the destructor.
// Invariant: a step looks up no label and allocates nothing here.
class WorkerProbe {
 public:
  // `address` is host:port, port 0 picks a free one.
  static Result<std::unique_ptr<WorkerProbe>> create(const std::string& address);
  virtual ~WorkerProbe() = default;

  virtual const std::string& address() const = 0;

  // The rank's series appear; those of an earlier rank go.
  virtual void begin_epoch(int32_t rank, const MemoryReport& memory) = 0;
  virtual void rank_step(int64_t duration_ns, const MemoryReport& memory,
                         const MaskReport& masks) = 0;
  // Rank 0's series appear, and go.
  virtual void begin_leading(const Engine::Options& options) = 0;
  virtual void engine_step(const EngineStats& stats) = 0;
  virtual void end_leading() = 0;
};

}  // namespace mimo::node
