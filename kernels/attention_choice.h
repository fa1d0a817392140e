#pragma once

#include <cstdint>
#include <string>

#include "base/dtype.h"
#include "base/result.h"

namespace mimo::kernels {

// What decides which kernel a layer's attention runs on.
struct AttentionQuery {
  int32_t k_dim = 0;
  int32_t v_dim = 0;
  int32_t group = 1;  // q heads of a kv head
  bool sinks = false;
  int32_t window = 0;  // 0: every key
  DType k_dtype = DType::kBf16;
  DType v_dtype = DType::kBf16;
  int32_t page_tokens = 64;
  int32_t capability = 0;     // of the device: 80, 90, 100; 0: the CPU
  std::string wish = "auto";  // or a kernel's name
};

struct AttentionChoice {
  // "cpu": plain loops; "mma_sync": portable tensor core instructions; "tma": the same, with decode
  // rows' keys brought by the copy engine; "wgmma_sm90": also prompts' keys, and SM90's
  // instructions
  std::string kernel;
  std::string reason;  // one sentence
};

// The kernel for one layer, or kInvalidArgument (no kernel has that name, or the layer is none) or
// kUnimplemented: what the device or the wished kernel lacks, by name and value (without a wish:
// what the kernel that takes most lacks). A wish is met or refused, never replaced.
Result<AttentionChoice> choose_attention(const AttentionQuery& query);

// Layers, devices and the answers: the Markdown table of kernels/README.md.
std::string attention_table();

}  // namespace mimo::kernels
