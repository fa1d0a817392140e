#pragma once

#include <cstdint>
#include <vector>

#include "kernels/ops.h"
#include "lockstep_report.h"

namespace mimo::node::model_test {

// p's own outputs against another backend's [T, K]: experts are equal unless what they were chosen
// by is nearer than 1e-6; weights of equal experts are compared.
void compare_routes(const kernels::RouteParams& p, const std::vector<int32_t>& ids,
                    const std::vector<float>& weights, OpErrors& errors);

// Drawn or looked up from the same logits: all equal but the log-probability's last bits.
void compare_choice(const kernels::DrawResult& want, const kernels::DrawResult& out,
                    OpErrors& errors);
// [*, vocab] log-probabilities or logits.
void compare_full(const float* want, const std::vector<float>& out, int32_t vocab,
                  OpErrors& errors);

}  // namespace mimo::node::model_test
