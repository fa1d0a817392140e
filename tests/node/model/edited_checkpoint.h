#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/dtype.h"

namespace mimo::node::model_test {

// A copy of a checkpoint that a test changes and writes to a folder of its own, which goes with it.
class EditedCheckpoint {
 public:
  struct Tensor {
    DType dtype = DType::kF32;
    std::vector<int64_t> shape;
    std::vector<uint8_t> bytes;
  };

  explicit EditedCheckpoint(const std::string& folder);
  ~EditedCheckpoint();
  EditedCheckpoint(const EditedCheckpoint&) = delete;
  EditedCheckpoint& operator=(const EditedCheckpoint&) = delete;

  nlohmann::json& config() { return config_; }
  Tensor& tensor(const std::string& name) { return tensors_.at(name); }
  // config.json and one model.safetensors; the folder's name.
  std::string save() const;

 private:
  std::string folder_;
  nlohmann::json config_;
  std::map<std::string, Tensor> tensors_;
};

}  // namespace mimo::node::model_test
