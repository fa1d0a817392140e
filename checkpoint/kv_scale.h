#pragma once

#include <cstdint>

#include "base/result.h"
#include "checkpoint/model_config.h"

namespace mimo::checkpoint {

// How a layer's K and V scale rows are to be read.
enum class KvScaleRule : uint8_t {
  kPlain = 0,         // ceil(rows / 128) scale rows each: ordinary 128-row blocks
  kJointPerHead = 1,  // blocks of each kv head's [K | V] rows; the block across the edge is K's
};
const char* kv_scale_rule_name(KvScaleRule rule);  // "plain", "joint per head"

// Scale rows of the K and the V tensor under a rule. Joint blocks may leave V none at all.
struct KvScaleRows {
  int64_t k = 0;
  int64_t v = 0;
  bool operator==(const KvScaleRows&) const = default;
};
KvScaleRows kv_scale_rows(KvScaleRule rule, const AttentionShape& shape);

// From the scale tensors' row counts (K: nkv * ceil(k_dim/128) rows and not ceil(nkv*k_dim/128)
// means joint). kInvalidArgument naming the counts when neither rule fits. When both rules have
// the same counts kPlain is answered: they then read the same rows, but for the shapes of which
// kv_scale_counts_hide_the_rule() is true.
Result<KvScaleRule> kv_scale_rule(const AttentionShape& shape, int64_t k_scale_rows,
                                  int64_t v_scale_rows);

// True when both rules have the same row counts and yet read different rows: one kv head whose
// k_dim is not whole blocks. Such a checkpoint does not say which rule made it.
bool kv_scale_counts_hide_the_rule(const AttentionShape& shape);

// The scale row of a K or V row under a rule: "from K's tensor, row i".
struct ScaleRowRef {
  bool from_v = false;
  int32_t row = 0;
  bool operator==(const ScaleRowRef&) const = default;
};
ScaleRowRef k_scale_row(KvScaleRule rule, const AttentionShape& shape, int32_t k_row);
ScaleRowRef v_scale_row(KvScaleRule rule, const AttentionShape& shape, int32_t v_row);

}  // namespace mimo::checkpoint
