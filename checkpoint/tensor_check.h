#pragma once

#include <map>
#include <string>

#include "base/result.h"
#include "checkpoint/expected_tensors.h"
#include "checkpoint/model_config.h"
#include "checkpoint/safetensors.h"

namespace mimo::checkpoint {

// How a folder's tensors answer its config.
struct TensorCheck {
  int32_t num_mtp_layers = 0;
  CheckpointForm form;
};

// Holds every tensor against what the config implies, both ways; `folder` opens the message about a
// tensor that no file has. Refused: missing and extra tensors, other dtypes or shapes, FP8 weights
// without a quantization_config, MTP layers that are not 0, 1, 2 ..., and the fused qkv_proj of
// MiMo-V2.5.
Result<TensorCheck> check_tensors(const ModelConfig& config,
                                  const std::map<std::string, TensorView>& tensors,
                                  const std::string& folder);

}  // namespace mimo::checkpoint
