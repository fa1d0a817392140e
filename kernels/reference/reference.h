#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/ops.h"

// What each operation of ops.h means, in plain loops over doubles: what every backend's tests
// compare with. Nothing here is shared with a backend. CpuMode::kF32 rounds nowhere; kDevice rounds
// where the GPU stores (the table in kernels/README.md).
namespace mimo::kernels::reference {

// [rows, cols], rows contiguous
struct Matrix {
  Matrix() = default;
  Matrix(int64_t r, int64_t c) : rows(r), cols(c), data(static_cast<size_t>(r * c)) {}
  double& at(int64_t r, int64_t c) { return data[static_cast<size_t>(r * cols + c)]; }
  double at(int64_t r, int64_t c) const { return data[static_cast<size_t>(r * cols + c)]; }

  int64_t rows = 0;
  int64_t cols = 0;
  std::vector<double> data;
};

Matrix matrix(std::span<const float> values, int64_t rows, int64_t cols);
// Every value as an activation is stored.
double stored(double x, CpuMode mode);
Matrix stored(Matrix x, CpuMode mode);
// The e4m3 value nearest to x, found among all of them; ties to the even mantissa.
double nearest_e4m3(double x);

// values: e4m3; scales [rows, ceil(cols / 128)].
struct Quantised {
  Matrix values;
  Matrix scales;
};
Quantised quantise(const Matrix& x);

// Value times scale of each element, [rows, cols].
Matrix weight(const HostLinear& w);
// x w^T, not rounded; x is quantised first where the device would.
Matrix product(const Matrix& x, const HostLinear& w, CpuMode mode);

struct Normed {
  Matrix residual;
  Matrix out;
};
// `delta` may be null.
Normed add_norm(const Matrix& residual, const Matrix* delta, std::span<const float> weight,
                double eps, CpuMode mode);

// down(silu(gate x) * (up x)), not rounded at the end.
Matrix ffn(const Matrix& x, const HostLinear& gate_up, const HostLinear& down, CpuMode mode);

struct QkvShape {
  int32_t num_q_heads = 0;
  int32_t kv_heads = 0;
  int32_t k_dim = 0;
  int32_t v_dim = 0;
  int32_t rotary_dim = 0;
  double rope_theta = 0;
  double value_scale = 1;
};
struct Qkv {
  Matrix q;  // [T, num_q_heads * k_dim], as stored
  Matrix k;  // [T, kv_heads * k_dim], before it is rounded to the cache's dtype
  Matrix v;  // [T, kv_heads * v_dim], the same
};
Qkv qkv(const Matrix& x, const HostLinear& w, const QkvShape& shape,
        std::span<const int32_t> positions, CpuMode mode);

// One sequence: keys and values of positions 0, 1, ...; q's rows stand at `positions`. As stored.
Matrix attention(const Matrix& q, const Matrix& k, const Matrix& v, const QkvShape& shape,
                 std::span<const int32_t> positions, int32_t window, std::span<const float> sinks,
                 double scale, CpuMode mode);

struct RouteShape {
  int32_t experts_per_token = 0;
  int32_t num_groups = 1;
  int32_t groups_per_token = 1;
  bool normalize = true;
  double scaling = 1;
};
struct Routing {
  std::vector<int32_t> expert_ids;  // [T, K], best first
  std::vector<double> weights;      // [T, K]
};
Routing route(const Matrix& x, const Matrix& weight, std::span<const float> bias,
              const RouteShape& shape);

// Experts first, first + 1, ... as stored.
Matrix experts(const Matrix& x, int32_t first, std::span<const HostLinear> gate_up,
               std::span<const HostLinear> down, std::span<const int32_t> expert_ids,
               std::span<const float> expert_weights, int32_t experts_per_token, CpuMode mode);

// The probability of each token, for the logits of the tokens that can be drawn. `mask` as in
// SampleParams; empty: none.
std::vector<double> distribution(std::span<const float> logits, const SamplerInit& init,
                                 std::span<const uint32_t> mask = {});
// log softmax of the logits as they are.
std::vector<double> log_probabilities(std::span<const float> logits);

}  // namespace mimo::kernels::reference
