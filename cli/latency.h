#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace mimo::cli {

// Quantiles of a sample, by the nearest rank: p50 of {1, 2, 3, 4} is 2.
class Latencies {
 public:
  void add(double seconds) { values_.push_back(seconds); }
  void add_all(const Latencies& other) {
    values_.insert(values_.end(), other.values_.begin(), other.values_.end());
  }
  int64_t size() const { return static_cast<int64_t>(values_.size()); }
  double mean() const {
    double sum = 0;
    for (const double value : values_) sum += value;
    return values_.empty() ? 0 : sum / static_cast<double>(values_.size());
  }
  // q in (0, 1]; 0 when nothing was added.
  double quantile(double q) {
    if (values_.empty()) return 0;
    std::sort(values_.begin(), values_.end());
    const auto rank = static_cast<int64_t>(std::ceil(q * static_cast<double>(values_.size())));
    return values_[static_cast<size_t>(std::clamp<int64_t>(rank, 1, size()) - 1)];
  }

 private:
  std::vector<double> values_;
};

}  // namespace mimo::cli
