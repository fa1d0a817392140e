#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "checkpoint/kv_scale.h"
#include "checkpoint/model_config.h"

namespace mimo::checkpoint {

// How one layer's weights are stored: what only the tensors themselves say. Within a part all
// matrices are alike, since a rank fuses them.
struct LayerForm {
  bool qkv_fp8 = false;  // q, k and v: F8_E4M3 with weight_scale_inv, else BF16
  bool ffn_fp8 = false;  // all matrices of the FFN, or of all its experts
  KvScaleRule kv_rule = KvScaleRule::kPlain;
  bool operator==(const LayerForm&) const = default;
};
struct CheckpointForm {
  std::vector<LayerForm> layers;  // [num_layers]
  std::vector<LayerForm> mtp;     // [num_mtp_layers]
};

// FP8 wherever the released checkpoint is, joint K/V scales on full layers; BF16 without a
// quantization_config.
CheckpointForm released_form(const ModelConfig& config);

struct TensorSpec {
  std::vector<DType> dtypes;  // any of these
  std::vector<int64_t> shape;
};

// Every tensor that a checkpoint of this config and form holds, in file order of layers, until
// `visit` says false. Answers whether all were visited.
bool visit_expected_tensors(const ModelConfig& config, const CheckpointForm& form,
                            const std::function<bool(std::string name, TensorSpec spec)>& visit);

std::map<std::string, TensorSpec> expected_tensors(const ModelConfig& config,
                                                   const CheckpointForm& form);

// The sum over expected_tensors, each in its first dtype.
int64_t expected_bytes(const ModelConfig& config, const CheckpointForm& form);

// "model.layers.7." and "model.mtp.layers.1.": what a layer's tensor names begin with.
std::string layer_prefix(int32_t layer);
std::string mtp_prefix(int32_t layer);

}  // namespace mimo::checkpoint
