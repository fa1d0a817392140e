#pragma once

#include <algorithm>
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
  // Which lines are timed; an empty list names all.
  struct Only {
    std::string ops;  // "qkv,experts"
    std::vector<int32_t> tokens;
    std::vector<int32_t> contexts;
  };

  KernelWorld(std::unique_ptr<kernels::cuda::CudaOps> ops, std::vector<Field> common, Only only)
      : ops_(std::move(ops)), rows_(std::move(common)), only_(std::move(only)) {}

  kernels::cuda::CudaOps& ops() { return *ops_; }
  bool wants(const std::string& op) const {
    return only_.ops.empty() || ("," + only_.ops + ",").find("," + op + ",") != std::string::npos;
  }
  bool wants(const Line& line) const {
    const auto named = [](const std::vector<int32_t>& all, int64_t value) {
      return all.empty() || std::find(all.begin(), all.end(), value) != all.end();
    };
    return named(only_.tokens, line.num_tokens) && named(only_.contexts, line.context);
  }
  // body(i) uses weight set i.
  void time(const Line& line, int32_t count, const std::function<void(int32_t)>& body) {
    time_on(static_cast<cudaStream_t>(ops_->stream().handle), line, count, body);
  }
  void time_on(cudaStream_t stream, const Line& line, int32_t count,
               const std::function<void(int32_t)>& body);
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
  const Only only_;
};

// Each times its operations at the shapes of one tp.
void bench_products(KernelWorld& world, const RankShape& shape);
void bench_experts(KernelWorld& world, const RankShape& shape);
void bench_attention(KernelWorld& world, const RankShape& shape);
void bench_rest(KernelWorld& world, const RankShape& shape);
// What cuBLASLt makes of the bf16 products, as the rows "cublaslt o_proj" and "cublaslt lm_head".
void bench_cublas(KernelWorld& world, const RankShape& shape);

}  // namespace mimo::bench
