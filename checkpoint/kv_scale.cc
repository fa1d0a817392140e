#include "checkpoint/kv_scale.h"

#include <string>

namespace mimo::checkpoint {
namespace {

constexpr int32_t kBlock = 128;

int32_t num_blocks(int32_t rows) { return (rows + kBlock - 1) / kBlock; }

// Blocks of a head's [K | V] rows that begin in K, and all of them.
int32_t k_blocks(const AttentionShape& shape) { return num_blocks(shape.k_dim); }
int32_t joint_blocks(const AttentionShape& shape) { return num_blocks(shape.k_dim + shape.v_dim); }

}  // namespace

const char* kv_scale_rule_name(KvScaleRule rule) {
  return rule == KvScaleRule::kPlain ? "plain" : "joint per head";
}

KvScaleRows kv_scale_rows(KvScaleRule rule, const AttentionShape& shape) {
  const int32_t heads = shape.num_kv_heads;
  if (rule == KvScaleRule::kPlain) {
    return {num_blocks(heads * shape.k_dim), num_blocks(heads * shape.v_dim)};
  }
  return {int64_t{heads} * k_blocks(shape),
          int64_t{heads} * (joint_blocks(shape) - k_blocks(shape))};
}

Result<KvScaleRule> kv_scale_rule(const AttentionShape& shape, int64_t k_scale_rows,
                                  int64_t v_scale_rows) {
  const KvScaleRows found{k_scale_rows, v_scale_rows};
  const KvScaleRows plain = kv_scale_rows(KvScaleRule::kPlain, shape);
  const KvScaleRows joint = kv_scale_rows(KvScaleRule::kJointPerHead, shape);
  if (found == plain) return KvScaleRule::kPlain;
  if (found == joint) return KvScaleRule::kJointPerHead;
  const auto counts = [](const KvScaleRows& rows) {
    return std::to_string(rows.k) + " K and " + std::to_string(rows.v) + " V";
  };
  return invalid_argument("scale rows: " + counts(found) + "; " +
                          std::to_string(shape.num_kv_heads) + " kv heads of widths " +
                          std::to_string(shape.k_dim) + " (K) and " + std::to_string(shape.v_dim) +
                          " (V) have " + counts(plain) + " in plain 128-row blocks, or " +
                          counts(joint) + " in joint blocks of each head's K and V rows");
}

bool kv_scale_counts_hide_the_rule(const AttentionShape& shape) {
  if (kv_scale_rows(KvScaleRule::kPlain, shape) !=
      kv_scale_rows(KvScaleRule::kJointPerHead, shape)) {
    return false;
  }
  for (int32_t row = 0; row < shape.num_kv_heads * shape.v_dim; ++row) {
    if (v_scale_row(KvScaleRule::kPlain, shape, row) !=
        v_scale_row(KvScaleRule::kJointPerHead, shape, row)) {
      return true;
    }
  }
  return false;
}

ScaleRowRef k_scale_row(KvScaleRule rule, const AttentionShape& shape, int32_t k_row) {
  if (rule == KvScaleRule::kPlain) return {false, k_row / kBlock};
  const int32_t head = k_row / shape.k_dim;
  return {false, head * k_blocks(shape) + k_row % shape.k_dim / kBlock};
}

ScaleRowRef v_scale_row(KvScaleRule rule, const AttentionShape& shape, int32_t v_row) {
  if (rule == KvScaleRule::kPlain) return {true, v_row / kBlock};
  const int32_t head = v_row / shape.v_dim;
  const int32_t block = (shape.k_dim + v_row % shape.v_dim) / kBlock;
  const int32_t of_k = k_blocks(shape);
  if (block < of_k) return {false, head * of_k + block};
  return {true, head * (joint_blocks(shape) - of_k) + block - of_k};
}

}  // namespace mimo::checkpoint
