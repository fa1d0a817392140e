#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

#include "base/dtype.h"
#include "base/result.h"

namespace mimo::kvcache {

enum class KvKind : uint8_t { kFull = 0, kWindow = 1 };
constexpr int32_t kNumKvKinds = 2;
// "full", "window": the label of metrics.
const char* kv_kind_name(KvKind kind);

// One layer group of one rank: the layers that share page ids. All byte arithmetic of the KV cache
// is here; K bytes and V bytes are separate numbers and nothing assumes that they are equal.
//
// K pool: [num_layers][num_pages][kv_heads][page_tokens][k_dim] k_dtype
// V pool: [num_layers][num_pages][kv_heads][page_tokens][v_dim] v_dtype
struct KvSpec {
  KvKind kind = KvKind::kFull;
  int32_t num_layers = 0;
  int32_t kv_heads = 0;  // held by this rank
  int32_t k_dim = 0;
  int32_t v_dim = 0;
  DType k_dtype = DType::kBf16;
  DType v_dtype = DType::kBf16;
  int32_t page_tokens = 64;  // 16, 32, 64 or 128
  int32_t window = 0;        // keys a query sees, itself included; 0 = all

  Result<void> validate() const;

  // One page of one layer.
  int64_t k_page_bytes() const {
    return int64_t{kv_heads} * page_tokens * k_dim * dtype_bytes(k_dtype);
  }
  int64_t v_page_bytes() const {
    return int64_t{kv_heads} * page_tokens * v_dim * dtype_bytes(v_dtype);
  }
  // One page id: all layers of the group.
  int64_t k_bytes_per_page() const { return num_layers * k_page_bytes(); }
  int64_t v_bytes_per_page() const { return num_layers * v_page_bytes(); }
  int64_t bytes_per_page() const { return k_bytes_per_page() + v_bytes_per_page(); }

  // Pages that hold tokens [0, num_tokens).
  int32_t pages_for(int32_t num_tokens) const {
    return (num_tokens + page_tokens - 1) / page_tokens;
  }
  // The first logical page that a query at `position` still reads: 0 for full groups.
  int32_t first_live_page(int32_t position) const {
    if (window == 0 || position < window) return 0;
    return (position - window + 1) / page_tokens;
  }
  // Held by a sequence of which `num_read` tokens are read and that reads on: what is before the
  // window is gone.
  int32_t pages_held(int32_t num_read) const {
    return pages_for(num_read) - first_live_page(num_read);
  }
  // The most that a sequence holds at once while it reads num_tokens tokens, one a step.
  int32_t pages_max(int32_t num_tokens) const {
    const int32_t all = pages_for(num_tokens);
    if (window == 0) return all;
    return std::min(all, pages_for(window - 1) + 1);
  }
};

}  // namespace mimo::kvcache
