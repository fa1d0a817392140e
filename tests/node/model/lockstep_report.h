#pragma once

#include <cstdint>
#include <map>
#include <ostream>
#include <span>
#include <string>
#include <vector>

namespace mimo::node::model_test {

// How far two backends' outputs of one operation lie apart, over many calls. A row's error is the
// root of its squared differences over that of its squared values; infinite where a value is none.
class OpErrors {
 public:
  void add_call(std::span<const float> out, std::span<const float> want, int64_t cols);
  // Where nothing but equal will do; `what` names the place.
  void add_equal(bool equal, const std::string& what);

  int64_t num_calls() const { return num_calls_; }
  int64_t num_rows() const { return static_cast<int64_t>(rows_.size()); }
  int64_t num_unequal() const { return num_unequal_; }
  const std::string& first_unequal() const { return first_unequal_; }
  // Of all rows as one long vector.
  double pooled() const;
  // Of the rows: 0.5 the median, 1 the worst.
  double quantile(double part) const;

 private:
  int64_t num_calls_ = 0;
  double difference_ = 0;
  double size_ = 0;
  std::vector<double> rows_;
  int64_t num_unequal_ = 0;
  std::string first_unequal_;
};

using Lockstep = std::map<std::string, OpErrors>;  // by operation

std::ostream& operator<<(std::ostream& out, const OpErrors& errors);

// The part of the sorted values below which `part` of them lie.
double quantile_of(std::vector<double> values, double part);

}  // namespace mimo::node::model_test
