#include "kvcache/kv_spec.h"

namespace mimo::kvcache {
namespace {

// Keeps every product of the byte arithmetic far below 2^63.
constexpr int32_t kWidthMax = 1 << 16;
constexpr int32_t kPositionsMax = 1 << 30;

Result<void> require_between(const char* field, int32_t value, int32_t low, int32_t high) {
  if (value >= low && value <= high) return {};
  return invalid_argument(std::string(field) + " is " + std::to_string(value) + ", expected " +
                          std::to_string(low) + " to " + std::to_string(high));
}

Result<void> require_float(const char* field, DType dtype) {
  if (dtype == DType::kF32 || dtype == DType::kBf16 || dtype == DType::kF8E4m3) return {};
  return invalid_argument(std::string(field) + " is " + dtype_name(dtype) +
                          ", expected F32, BF16 or F8_E4M3");
}

Result<void> check_fields(const KvSpec& spec) {
  TRY(require_between("num_layers", spec.num_layers, 1, kWidthMax));
  TRY(require_between("kv_heads", spec.kv_heads, 1, kWidthMax));
  TRY(require_between("k_dim", spec.k_dim, 1, kWidthMax));
  TRY(require_between("v_dim", spec.v_dim, 1, kWidthMax));
  TRY(require_float("k_dtype", spec.k_dtype));
  TRY(require_float("v_dtype", spec.v_dtype));
  const int32_t page = spec.page_tokens;
  if (page != 16 && page != 32 && page != 64 && page != 128)
    return invalid_argument("page_tokens is " + std::to_string(page) +
                            ", expected 16, 32, 64 or 128");
  if (spec.kind == KvKind::kFull) return require_between("window", spec.window, 0, 0);
  return require_between("window", spec.window, 1, kPositionsMax);
}

}  // namespace

const char* kv_kind_name(KvKind kind) {
  switch (kind) {
    case KvKind::kFull:
      return "full";
    case KvKind::kWindow:
      return "window";
  }
  return "?";
}

Result<void> KvSpec::validate() const {
  const auto checked = check_fields(*this);
  if (checked.ok()) return {};
  return checked.error().with_context(std::string(kv_kind_name(kind)) + " layers");
}

}  // namespace mimo::kvcache
