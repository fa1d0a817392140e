#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "checkpoint/expected_tensors.h"
#include "checkpoint/model_config.h"
#include "checkpoint/safetensors.h"

namespace mimo::checkpoint {

// A checkpoint folder in the released layout: config.json, and model.safetensors or
// model.safetensors.index.json with its shards. open() maps every file, reads every header and
// checks each tensor's name, shape and dtype against the config: what is missing, extra, of the
// wrong shape or dtype, truncated or overlapping ends in an error naming file and tensor.
//
// Thread:    const, any.
// Lifetime:  TensorViews point into files that stay mapped while this lives.
class Checkpoint {
 public:
  static Result<std::unique_ptr<Checkpoint>> open(const std::string& folder);

  const ModelConfig& config() const { return config_; }
  // How each layer's weights are stored, found from the tensors.
  const CheckpointForm& form() const { return form_; }
  const std::string& folder() const { return folder_; }
  // CHECKs that the name exists: open() has proven every name that the config implies.
  const TensorView& tensor(const std::string& name) const;
  bool has(const std::string& name) const { return tensors_.contains(name); }
  int64_t num_tensors() const { return static_cast<int64_t>(tensors_.size()); }
  int64_t tensor_bytes() const;
  // A digest of config, tokenizer.json and all tensors' names, dtypes, shapes and places: the same
  // files give the same digest on every machine. The tensors' content is not read.
  uint64_t digest() const { return digest_; }

 private:
  Checkpoint() = default;

  std::string folder_;
  ModelConfig config_;
  CheckpointForm form_;
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::map<std::string, TensorView> tensors_;
  uint64_t digest_ = 0;
};

}  // namespace mimo::checkpoint
