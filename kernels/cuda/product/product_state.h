#pragma once

#include <cstdint>
#include <optional>

#include "kernels/cuda/product/chain.h"
#include "kernels/cuda/product/experts_few.h"
#include "kernels/cuda/product/product_ops.h"
#include "kernels/cuda/product/resident.h"
#include "kernels/cuda/product/slab.h"
#include "kernels/cuda/product/stream.h"
#include "kernels/cuda/product/swap.h"
#include "kernels/cuda/tile/tile_gemm.h"

// The inside of ProductOps: its kernels, its workspace, and how they are put together.
namespace mimo::kernels::cuda {

// Rows that a product reads; without `q` they are quantised for FP8 weights on the way.
struct ProductInput {
  const void* values = nullptr;     // [*, cols] bf16
  const uint8_t* q = nullptr;       // [*, cols] e4m3
  const float* q_scales = nullptr;  // [*, ceil(cols / 128)]
};

struct ProductOps::State {
  explicit State(DeviceContext& c) : context(c), tile(c) {}

  // x as the weight's products read it from memory.
  product::StreamParams stream_params(const ProductInput& x, const DeviceMatrix& w) const;
  ProductInput quantised(const ProductInput& x, const DeviceMatrix& w, int32_t num_rows);
  void dense(const ProductInput& x, const DeviceMatrix& w, product::StreamOut kind, void* out,
             int32_t num_tokens);
  bool swap_experts(const ExpertsParams& p);
  void stream_experts(const ExpertsParams& p, int32_t tile_rows);
  void tile_experts(const ExpertsParams& p);
  void plan_for(const ExpertsParams& p, int32_t tile_rows);
  bool invariant(const ProductInput& x, const DeviceMatrix& w, product::StreamOut kind, void* out,
                 const product::QkvTarget& target, int32_t num_tokens);

  DeviceContext& context;
  TileGemm tile;
  std::optional<product::SwapStream> swap;
  std::optional<product::ResidentStream> resident;
  std::optional<product::ChainStream> chain;
  std::optional<product::SlabStream> slab;
  std::optional<product::ExpertsFew> few;
  StepLimits limits;
  int64_t q_max = 0;
  int64_t q_scales_max = 0;
  float* wide = nullptr;           // [T, qkv columns]
  uint8_t* q = nullptr;            // [q_max] e4m3: what a tiled product reads
  float* q_scales = nullptr;       // [q_scales_max]
  uint16_t* middle = nullptr;      // silu(gate) * up: [T, dense columns], [T * K, expert columns]
  uint16_t* expert_out = nullptr;  // [T * K, H]
  ExpertPlan plan;
  ExpertPlans* plans = nullptr;  // shared with the router
};

}  // namespace mimo::kernels::cuda
