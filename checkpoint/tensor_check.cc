#include "checkpoint/tensor_check.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "base/log.h"
#include "checkpoint/strict_json.h"

namespace mimo::checkpoint {
namespace {

using Tensors = std::map<std::string, TensorView>;

constexpr std::string_view kMtpPrefix = "model.mtp.layers.";

Error about(const std::string& name, const TensorView& tensor, const std::string& what) {
  return invalid_argument(tensor.file + ": tensor " + cite(name) + ": " + what);
}

Result<void> refuse_fused_qkv(const Tensors& tensors) {
  for (const auto& [name, tensor] : tensors) {
    if (name.find("self_attn.qkv_proj.") == std::string::npos) continue;
    return about(name, tensor,
                 "query, key and value projections fused into one, sharded for 4 ranks, as "
                 "MiMo-V2.5 stores them; expected MiMo-V2-Flash's q_proj, k_proj and v_proj, each "
                 "a tensor of its own");
  }
  return {};
}

// The k of "model.mtp.layers.k." in its plain spelling.
std::optional<int32_t> mtp_layer_of(std::string_view name) {
  name.remove_prefix(kMtpPrefix.size());
  int32_t layer = -1;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), layer);
  if (error != std::errc() || layer < 0) return std::nullopt;
  const std::string plain = std::to_string(layer) + ".";
  return name.starts_with(plain) ? std::optional<int32_t>(layer) : std::nullopt;
}

Result<int32_t> count_mtp_layers(const ModelConfig& config, const Tensors& tensors) {
  std::map<int32_t, const std::string*> first_of;
  for (auto at = tensors.lower_bound(std::string(kMtpPrefix));
       at != tensors.end() && at->first.starts_with(kMtpPrefix); ++at) {
    const auto layer = mtp_layer_of(at->first);
    if (!layer) return about(at->first, at->second, "not a tensor of this model");
    first_of.emplace(*layer, &at->first);
  }
  const auto count = static_cast<int32_t>(first_of.size());
  for (int32_t layer = 0; layer < count; ++layer) {
    if (first_of.contains(layer)) continue;
    const std::string& beyond = *first_of.upper_bound(layer)->second;
    return about(beyond, tensors.at(beyond),
                 "there is no MTP layer " + std::to_string(layer) + " before it");
  }
  if (config.num_mtp_layers != 0 && config.num_mtp_layers != count) {
    return invalid_argument("num_nextn_predict_layers: " + std::to_string(config.num_mtp_layers) +
                            " in config.json, but the files hold " + std::to_string(count) +
                            " MTP layers (model.mtp.layers.*)");
  }
  return count;
}

bool is_fp8(const Tensors& tensors, const std::string& name) {
  const auto found = tensors.find(name);
  return found != tensors.end() && found->second.dtype == DType::kF8E4m3;
}

// What the tensors say of a layer. A tensor that is missing or odd is judged later, by its spec.
Result<LayerForm> find_form(const Tensors& tensors, const std::string& prefix,
                            const AttentionShape& shape, bool is_moe) {
  const std::string self = prefix + "self_attn.";
  LayerForm form;
  form.qkv_fp8 = is_fp8(tensors, self + "q_proj.weight");
  form.ffn_fp8 =
      is_fp8(tensors, prefix + (is_moe ? "mlp.experts.0." : "mlp.") + "gate_proj.weight");
  const auto k = tensors.find(self + "k_proj.weight_scale_inv");
  const auto v = tensors.find(self + "v_proj.weight_scale_inv");
  if (!form.qkv_fp8 || k == tensors.end() || v == tensors.end()) return form;
  if (k->second.shape.size() != 2 || v->second.shape.size() != 2) return form;
  auto rule = kv_scale_rule(shape, k->second.shape[0], v->second.shape[0]);
  if (!rule.ok()) return about(k->first, k->second, rule.error().message);
  form.kv_rule = rule.value();
  if (kv_scale_counts_hide_the_rule(shape)) {
    log_warning("kv_scale_rule_unknown", {{"layer", prefix},
                                          {"taken", "plain"},
                                          {"why", "one kv head: both rules have as many rows"}});
  }
  return form;
}

Result<CheckpointForm> find_forms(const ModelConfig& config, const Tensors& tensors) {
  CheckpointForm form;
  for (int32_t layer = 0; layer < config.num_layers; ++layer) {
    const AttentionShape& shape = config.attention_shape(config.attention[layer]);
    TRY_ASSIGN(const LayerForm found,
               find_form(tensors, layer_prefix(layer), shape, config.is_moe[layer]));
    form.layers.push_back(found);
  }
  for (int32_t layer = 0; layer < config.num_mtp_layers; ++layer) {
    TRY_ASSIGN(const LayerForm found, find_form(tensors, mtp_prefix(layer), config.window, false));
    form.mtp.push_back(found);
  }
  return form;
}

std::string describe_spec(const TensorSpec& spec) {
  std::string dtypes;
  for (size_t i = 0; i + 1 < spec.dtypes.size(); ++i) {
    dtypes += std::string(dtype_name(spec.dtypes[i])) + " or ";
  }
  return dtypes + describe(spec.dtypes.back(), spec.shape);
}

Result<void> check_tensor(const std::string& name, const TensorSpec& spec, const Tensors& tensors,
                          const std::string& folder) {
  const auto found = tensors.find(name);
  if (found == tensors.end()) {
    return invalid_argument(folder + ": tensor '" + name + "': missing from all files, expected " +
                            describe_spec(spec));
  }
  const TensorView& tensor = found->second;
  const auto& dtypes = spec.dtypes;
  const bool dtype_fits = std::find(dtypes.begin(), dtypes.end(), tensor.dtype) != dtypes.end();
  if (dtype_fits && tensor.shape == spec.shape) return {};
  return about(
      name, tensor,
      "found " + describe(tensor.dtype, tensor.shape) + ", expected " + describe_spec(spec));
}

Result<void> refuse_extra(const Tensors& tensors, const std::set<std::string>& expected) {
  for (const auto& [name, tensor] : tensors) {
    if (expected.contains(name)) continue;
    constexpr std::string_view kScale = "_scale_inv";
    const std::string weight =
        name.ends_with(kScale) ? name.substr(0, name.size() - kScale.size()) : "";
    const auto scaled = tensors.find(weight);
    if (scaled != tensors.end()) {
      return about(name, tensor,
                   "scales of a weight that is " +
                       describe(scaled->second.dtype, scaled->second.shape) + ", not F8_E4M3");
    }
    return about(name, tensor, "not a tensor of this model");
  }
  return {};
}

Result<void> refuse_fp8_without_config(const ModelConfig& config, const Tensors& tensors) {
  if (config.quantization) return {};
  for (const auto& [name, tensor] : tensors) {
    if (tensor.dtype != DType::kF8E4m3) continue;
    return about(name, tensor, "F8_E4M3, but config.json has no quantization_config");
  }
  return {};
}

}  // namespace

Result<TensorCheck> check_tensors(const ModelConfig& config, const Tensors& tensors,
                                  const std::string& folder) {
  TRY(refuse_fused_qkv(tensors));
  TRY(refuse_fp8_without_config(config, tensors));
  ModelConfig counted = config;
  auto count = count_mtp_layers(config, tensors);
  if (!count.ok()) return count.error();
  counted.num_mtp_layers = count.value();
  TRY_ASSIGN(CheckpointForm form, find_forms(counted, tensors));
  Result<void> checked;
  std::set<std::string> expected;
  visit_expected_tensors(counted, form, [&](std::string name, const TensorSpec& spec) {
    checked = check_tensor(name, spec, tensors, folder);
    expected.insert(std::move(name));
    return checked.ok();
  });
  TRY(checked);
  TRY(refuse_extra(tensors, expected));
  return TensorCheck{counted.num_mtp_layers, std::move(form)};
}

}  // namespace mimo::checkpoint
