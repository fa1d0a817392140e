#include "edited_checkpoint.h"

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "base/check.h"
#include "checkpoint/checkpoint.h"

namespace mimo::node::model_test {

EditedCheckpoint::EditedCheckpoint(const std::string& folder) {
  std::string pattern = std::filesystem::temp_directory_path() / "mimo_checkpoint_XXXXXX";
  CHECK(mkdtemp(pattern.data()) != nullptr);
  folder_ = pattern;
  std::ifstream file(folder + "/config.json");
  config_ = nlohmann::json::parse(file);
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename();
    if (entry.path().extension() != ".safetensors" || !name.starts_with("model")) continue;
    const auto weights = checkpoint::SafetensorsFile::open(entry.path()).value();
    for (const auto& [tensor, view] : weights->tensors()) {
      tensors_[tensor] = {view.dtype, view.shape, {view.bytes.begin(), view.bytes.end()}};
    }
  }
}

EditedCheckpoint::~EditedCheckpoint() { std::filesystem::remove_all(folder_); }

std::string EditedCheckpoint::save() const {
  std::ofstream(folder_ + "/config.json") << config_.dump();
  nlohmann::json header;
  uint64_t end = 0;
  // The wide elements first, so that all are aligned.
  std::vector<const std::map<std::string, Tensor>::value_type*> order;
  for (const auto& entry : tensors_) order.push_back(&entry);
  std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return dtype_bytes(a->second.dtype) > dtype_bytes(b->second.dtype);
  });
  for (const auto* entry : order) {
    const Tensor& tensor = entry->second;
    const uint64_t begin = end;
    end += tensor.bytes.size();
    header[entry->first] = {{"dtype", dtype_name(tensor.dtype)},
                            {"shape", tensor.shape},
                            {"data_offsets", {begin, end}}};
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  std::ofstream file(folder_ + "/model.safetensors", std::ios::binary);
  const uint64_t size = text.size();
  file.write(reinterpret_cast<const char*>(&size), sizeof size);
  file << text;
  for (const auto* entry : order) {
    const std::vector<uint8_t>& bytes = entry->second.bytes;
    file.write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
  }
  CHECK(file.good());
  return folder_;
}

}  // namespace mimo::node::model_test
