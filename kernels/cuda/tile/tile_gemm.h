#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <memory>

#include "base/result.h"
#include "kernels/cuda/device_context.h"
#include "kernels/cuda/route/expert_plan.h"

namespace mimo::kernels::cuda {

enum class TileOut : uint8_t {
  kBf16 = 0,     // out [M, rows] bf16
  kF32 = 1,      // out [M, rows] f32
  kSiluMul = 2,  // weights are [gate | up] rows: out [M, rows / 2] = bf16(silu(gate) * up), from
                 // the float sums
};
enum class TileKernel : uint8_t {
  kAuto = 0,     // the fastest that can: cuBLASLt, wgmma, mma.sync (tile_choice.h)
  kMmaSync = 1,  // mma.sync m16n8k16: any part (e4m3: SM89+); e4m3 becomes f16 (exact), sums in f32
  kWgmma = 2,    // SM90: wgmma and TMA; e4m3 sums of 128 columns promoted to f32
  kCublasLt = 3,  // bf16, not grouped
};

// out = a w^T for many rows. Grouped: sorted row r of expert e (plan.tiles) is a's row a_rows[r]
// and is multiplied by weight e; out's row is r. cols is a multiple of 8, a's rows lie without
// gaps. Any number of rows is right, but each tile of 128 costs as if it were full, or half full.
struct TileGemmParams {
  // [*, cols] bf16, or e4m3 with a_scales when the weight is e4m3. Without a_rows: num_rows rows,
  // all of which may be read; with it: those that it names for the plan's rows.
  const void* a = nullptr;
  const float* a_scales = nullptr;  // [*, ceil(cols / 128)]
  const int32_t* a_rows = nullptr;  // [M] or null: a's row r itself
  int32_t a_rows_div = 1;           // the row is a_rows[r] / a_rows_div (pairs -> tokens)
  DeviceMatrix w;
  void* out = nullptr;
  TileOut out_kind = TileOut::kBf16;
  int32_t num_rows = 0;              // M; grouped: the most that there can be, not what there is
  const ExpertPlan* plan = nullptr;  // grouped, with tiles of tile_rows() rows
  TileKernel kernel = TileKernel::kAuto;
};

// Many-row products. The first call of a dense bf16 shape asks cuBLASLt for its algorithm and loads
// its kernel; every other call only launches.
//
// Thread:    one.
// Lifetime:  `context` outlives it. A weight's values stay where they were at its first call.
class TileGemm {
 public:
  explicit TileGemm(DeviceContext& context);
  ~TileGemm();

  // Takes 32 MB of workspace. kFailedPrecondition: cuBLASLt does not start, or the driver is too
  // old.
  Result<void> prepare(const StepLimits& limits);
  // Rows of a grouped product's tiles.
  int32_t tile_rows() const { return 128; }
  void run(const TileGemmParams& p);

 private:
  struct State;
  DeviceContext& context_;
  std::unique_ptr<State> state_;
};

}  // namespace mimo::kernels::cuda
