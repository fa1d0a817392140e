#include "cli/recorded_cases.h"

#include <cstring>
#include <nlohmann/json.hpp>

#include "base/mapped_file.h"

namespace mimo::cli {
namespace {

constexpr int64_t kJsonBytesMax = 64 << 20;

Result<std::vector<int32_t>> read_ids(const nlohmann::json& json, const char* name) {
  if (!json.contains(name) || !json[name].is_array() || json[name].empty()) {
    return invalid_argument(std::string(name) + ": expected a list of token ids");
  }
  std::vector<int32_t> ids;
  for (const auto& id : json[name]) {
    if (!id.is_number_integer()) return invalid_argument(std::string(name) + ": not all integers");
    ids.push_back(id.get<int32_t>());
  }
  return ids;
}

Result<void> read_logits(const checkpoint::SafetensorsFile& file, const std::string& name,
                         RecordedCase& recorded) {
  TRY_ASSIGN(const checkpoint::TensorView tensor, file.tensor(name));
  const auto num_prompt = static_cast<int64_t>(recorded.prompt.size());
  if (tensor.dtype != DType::kF32 || tensor.shape.size() != 2 || tensor.shape[0] != num_prompt) {
    return invalid_argument(name + ": " + checkpoint::describe(tensor.dtype, tensor.shape) +
                            ", expected F32 [" + std::to_string(num_prompt) + ", vocabulary]");
  }
  recorded.vocab = static_cast<int32_t>(tensor.shape[1]);
  recorded.logits.resize(tensor.bytes.size() / sizeof(float));
  std::memcpy(recorded.logits.data(), tensor.bytes.data(), tensor.bytes.size());
  return {};
}

Result<RecordedCase> read_case(const nlohmann::json& json,
                               const checkpoint::SafetensorsFile& logits) {
  RecordedCase recorded;
  TRY_ASSIGN(recorded.prompt, read_ids(json, "prompt"));
  TRY_ASSIGN(recorded.greedy, read_ids(json, "greedy"));
  if (json.contains("min_top2_margin")) {
    if (!json["min_top2_margin"].is_number()) {
      return invalid_argument("min_top2_margin: expected a number");
    }
    recorded.min_top2_margin = json["min_top2_margin"].get<double>();
  }
  if (!json.contains("logits")) return recorded;
  if (!json["logits"].is_string()) return invalid_argument("logits: expected a tensor's name");
  TRY(read_logits(logits, json["logits"].get<std::string>(), recorded));
  return recorded;
}

}  // namespace

Result<std::vector<RecordedCase>> read_recorded_cases(const std::string& folder) {
  const std::string path = folder + "/expected.json";
  TRY_ASSIGN(const std::string text, read_file(path, kJsonBytesMax));
  TRY_ASSIGN(const auto logits,
             checkpoint::SafetensorsFile::open(folder + "/expected_logits.safetensors"));
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object() || !json.contains("cases") || !json["cases"].is_array() ||
      json["cases"].empty()) {
    return invalid_argument(path + ": expected an object with a list \"cases\"");
  }
  std::vector<RecordedCase> cases;
  for (const auto& entry : json["cases"]) {
    auto recorded = read_case(entry, *logits);
    if (!recorded.ok()) {
      return recorded.error().with_context(path + ": case " + std::to_string(cases.size()));
    }
    cases.push_back(std::move(recorded).value());
  }
  return cases;
}

}  // namespace mimo::cli
