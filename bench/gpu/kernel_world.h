#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "bench/gpu/graph_timer.h"
#include "bench/gpu/rows.h"
#include "kernels/cuda/cuda_ops.h"

namespace mimo::bench {

// The released model, as one rank of `tp` sees it.
struct RankShape {
  explicit RankShape(int32_t tp_size) : tp(tp_size) {}

  int32_t tp;
  int32_t hidden = 4096;
  int32_t q_heads() const { return 64 / tp; }
  int32_t kv_heads(bool full) const { return std::max(1, (full ? 4 : 8) / tp); }
  int32_t qkv_rows(bool full) const { return q_heads() * 192 + kv_heads(full) * 320; }
  int32_t expert_cols() const { return 2048 / tp; }
  int32_t dense_cols() const { return 16384 / tp; }
  int32_t vocab_rows() const { return 152576 / tp; }
};

// One line of the table: what was done, how long it took, what bounds it.
struct Line {
  std::string op = {};
  std::string shape = {};
  int32_t tp = 4;
  int64_t num_tokens = 0;
  int64_t context = 0;
  double bytes = 0;  // that must be read or written once
  double flops = 0;
  double roof_flops = kRoofBf16Flops;
  double peer_us = 0;  // 0: not measured
  std::string peer = {};
};

// The backend, its lasting buffers, and the results so far.
class KernelWorld {
 public:
  KernelWorld(std::unique_ptr<kernels::cuda::CudaOps> ops, std::vector<Field> common,
              std::string only)
      : ops_(std::move(ops)), rows_(std::move(common)), only_(std::move(only)) {}

  kernels::cuda::CudaOps& ops() { return *ops_; }
  bool wants(const std::string& op) const {
    return only_.empty() || ("," + only_ + ",").find("," + op + ",") != std::string::npos;
  }
  // body(i) uses weight set i.
  void time(const Line& line, int32_t count, const std::function<void(int32_t)>& body);
  const Rows& rows() const { return rows_; }

  template <typename T>
  T* array(int64_t count, kernels::Purpose purpose = kernels::Purpose::kWorkspace) {
    return static_cast<T*>(ops_->allocate(count * int64_t{sizeof(T)}, purpose).value());
  }
  template <typename T>
  T* upload(const std::vector<T>& values) {
    T* const out = array<T>(static_cast<int64_t>(values.size()) + 1);
    ops_->upload(out, values.data(), static_cast<int64_t>(values.size() * sizeof(T)));
    return out;
  }
  // [num_rows, cols] of normal deviates: bf16 values and their e4m3 copy.
  kernels::Rows normal_rows(int64_t num_rows, int32_t cols);
  // How many sets of `bytes` bytes are together more than three times the L2.
  static int32_t cold_sets(double bytes) {
    return std::max(2, static_cast<int32_t>(200e6 / std::max(bytes, 1.0)) + 1);
  }

 private:
  std::unique_ptr<kernels::cuda::CudaOps> ops_;
  Rows rows_;
  const std::string only_;
};

// Each times its operations at the shapes of one tp.
void bench_products(KernelWorld& world, const RankShape& shape);
void bench_experts(KernelWorld& world, const RankShape& shape);
void bench_attention(KernelWorld& world, const RankShape& shape);
void bench_rest(KernelWorld& world, const RankShape& shape);

}  // namespace mimo::bench
