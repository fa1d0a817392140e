#include "lockstep_report.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"

namespace mimo::node::model_test {
namespace {

double ratio(double difference, double size) {
  const double error = std::sqrt(size == 0 ? difference : difference / size);
  return std::isnan(error) ? std::numeric_limits<double>::infinity() : error;
}

}  // namespace

double quantile_of(std::vector<double> values, double part) {
  CHECK(!values.empty());
  const auto at = static_cast<size_t>(part * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), values.begin() + static_cast<int64_t>(at), values.end());
  return values[at];
}

void OpErrors::add_call(std::span<const float> out, std::span<const float> want, int64_t cols) {
  CHECK_EQ(out.size(), want.size());
  ++num_calls_;
  const auto width = static_cast<size_t>(cols);
  for (size_t begin = 0; begin < out.size(); begin += width) {
    double difference = 0;
    double size = 0;
    for (size_t i = begin; i < begin + width; ++i) {
      const double apart = double{out[i]} - want[i];
      difference += apart * apart;
      size += double{want[i]} * want[i];
    }
    rows_.push_back(ratio(difference, size));
    difference_ += difference;
    size_ += size;
  }
}

void OpErrors::add_equal(bool equal, const std::string& what) {
  if (equal) return;
  if (num_unequal_++ == 0) first_unequal_ = what;
}

double OpErrors::pooled() const { return ratio(difference_, size_); }

double OpErrors::quantile(double part) const {
  return rows_.empty() ? 0 : quantile_of(rows_, part);
}

std::ostream& operator<<(std::ostream& out, const OpErrors& errors) {
  return out << errors.num_calls() << " calls, " << errors.num_rows() << " rows: all "
             << errors.pooled() << ", median " << errors.quantile(0.5) << ", 99% "
             << errors.quantile(0.99) << ", worst " << errors.quantile(1);
}

}  // namespace mimo::node::model_test
