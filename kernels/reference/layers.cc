#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/check.h"
#include "kernels/reference/reference.h"

namespace mimo::kernels::reference {
namespace {

// Indices of `values`, greatest first, ties to the lower index.
std::vector<int32_t> descending(const std::vector<double>& values) {
  std::vector<int32_t> order(values.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return values[a] > values[b]; });
  return order;
}

// Which groups may be chosen from.
std::vector<bool> open_groups(const std::vector<double>& choice, const RouteShape& shape) {
  std::vector<bool> open(static_cast<size_t>(shape.num_groups), shape.num_groups == 1);
  if (shape.num_groups == 1) return open;
  const size_t size = choice.size() / static_cast<size_t>(shape.num_groups);
  std::vector<double> sums;
  for (size_t g = 0; g < open.size(); ++g) {
    std::vector<double> group(choice.begin() + static_cast<int64_t>(g * size),
                              choice.begin() + static_cast<int64_t>((g + 1) * size));
    std::sort(group.rbegin(), group.rend());
    sums.push_back(group[0] + group[1]);
  }
  const auto order = descending(sums);
  for (int32_t i = 0; i < shape.groups_per_token; ++i) open[order[i]] = true;
  return open;
}

}  // namespace

Normed add_norm(const Matrix& residual, const Matrix* delta, std::span<const float> weight,
                double eps, CpuMode mode) {
  Normed out{residual, Matrix(residual.rows, residual.cols)};
  for (int64_t t = 0; t < residual.rows; ++t) {
    double squares = 0;
    for (int64_t c = 0; c < residual.cols; ++c) {
      double& x = out.residual.at(t, c);
      if (delta != nullptr) x = stored(x + stored(delta->at(t, c), mode), mode);
      squares += x * x;
    }
    const double factor = 1.0 / std::sqrt(squares / static_cast<double>(residual.cols) + eps);
    for (int64_t c = 0; c < residual.cols; ++c) {
      out.out.at(t, c) =
          stored(out.residual.at(t, c) * factor * weight[static_cast<size_t>(c)], mode);
    }
  }
  return out;
}

Matrix ffn(const Matrix& x, const HostLinear& gate_up, const HostLinear& down, CpuMode mode) {
  const Matrix wide = product(x, gate_up, mode);
  const int64_t columns = gate_up.rows / 2;
  Matrix middle(x.rows, columns);
  for (int64_t t = 0; t < x.rows; ++t) {
    for (int64_t c = 0; c < columns; ++c) {
      const double gate = wide.at(t, c);
      middle.at(t, c) = stored(gate / (1.0 + std::exp(-gate)) * wide.at(t, columns + c), mode);
    }
  }
  return product(middle, down, mode);
}

Routing route(const Matrix& x, const Matrix& weight, std::span<const float> bias,
              const RouteShape& shape) {
  Routing out;
  const int64_t num_experts = weight.rows;
  const int64_t group_size = num_experts / shape.num_groups;
  for (int64_t t = 0; t < x.rows; ++t) {
    std::vector<double> scores;
    std::vector<double> choice;
    for (int64_t e = 0; e < num_experts; ++e) {
      double sum = 0;
      for (int64_t c = 0; c < x.cols; ++c) sum += x.at(t, c) * weight.at(e, c);
      scores.push_back(1.0 / (1.0 + std::exp(-sum)));
      choice.push_back(scores.back() + bias[static_cast<size_t>(e)]);
    }
    const auto open = open_groups(choice, shape);
    std::vector<int32_t> chosen;
    for (const int32_t e : descending(choice)) {
      if (open[static_cast<size_t>(e / group_size)]) chosen.push_back(e);
    }
    chosen.resize(static_cast<size_t>(shape.experts_per_token));
    double total = 1e-20;
    for (const int32_t e : chosen) total += scores[e];
    for (const int32_t e : chosen) {
      out.expert_ids.push_back(e);
      out.weights.push_back(scores[e] / (shape.normalize ? total : 1.0) * shape.scaling);
    }
  }
  return out;
}

Matrix experts(const Matrix& x, int32_t first, std::span<const HostLinear> gate_up,
               std::span<const HostLinear> down, std::span<const int32_t> expert_ids,
               std::span<const float> expert_weights, int32_t experts_per_token, CpuMode mode) {
  Matrix out(x.rows, x.cols);
  for (int64_t t = 0; t < x.rows; ++t) {
    Matrix row(1, x.cols);
    for (int64_t c = 0; c < x.cols; ++c) row.at(0, c) = x.at(t, c);
    for (int32_t k = 0; k < experts_per_token; ++k) {
      const auto at = static_cast<size_t>(t * experts_per_token + k);
      const int32_t e = expert_ids[at] - first;
      if (expert_ids[at] < 0 || e < 0 || e >= static_cast<int32_t>(gate_up.size())) continue;
      const Matrix y =
          ffn(row, gate_up[static_cast<size_t>(e)], down[static_cast<size_t>(e)], mode);
      for (int64_t c = 0; c < x.cols; ++c) {
        out.at(t, c) += expert_weights[at] * stored(y.at(0, c), mode);
      }
    }
  }
  return stored(std::move(out), mode);
}

}  // namespace mimo::kernels::reference
