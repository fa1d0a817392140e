#pragma once

#include <optional>

#include "kernels/cuda/rows/folded_norm.h"
#include "kernels/cuda/rows/row_ops.h"

namespace mimo::kernels::cuda {

// An add_norm() that waits for the next operation, which may do it on its way. Every other call
// that queues something, or counts on what was queued, flushes it first.
//
// Thread:    one.
// Lifetime:  `rows` outlives it.
// Invariant: what it holds can_fold().
class HeldNorm {
 public:
  explicit HeldNorm(RowOps& rows) : rows_(rows) {}

  // Holds it back where it may be folded; queues it otherwise.
  void add_norm(const AddNormParams& p) {
    flush();
    if (!can_fold(p)) return rows_.add_norm(p);
    check_norm(p);
    held_ = p;
  }
  void flush() {
    if (held_.has_value()) rows_.add_norm(*held_);
    held_.reset();
  }
  // What the family's operation of these parameters, the next one, is to do on its way; nothing is
  // held after it.
  template <typename Family, typename Params>
  std::optional<AddNormParams> take_for(const Family& family, const Params& p) {
    if (held_.has_value() && !(reads_all(*held_, p) && family.folds_norm(p))) flush();
    const std::optional<AddNormParams> out = held_;
    held_.reset();
    return out;
  }

 private:
  RowOps& rows_;
  std::optional<AddNormParams> held_;
};

}  // namespace mimo::kernels::cuda
