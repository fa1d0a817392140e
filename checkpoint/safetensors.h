#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/dtype.h"
#include "base/mapped_file.h"
#include "base/result.h"

namespace mimo::checkpoint {

// A tensor as it lies in its file: row-major, rows contiguous.
struct TensorView {
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  // prod(shape) * dtype_bytes(dtype); the first byte is a multiple of dtype_bytes(dtype) away from
  // the start of a page.
  std::span<const uint8_t> bytes;
  std::string file;  // for messages
};

// "F8_E4M3 [512, 4096]".
std::string describe(DType dtype, const std::vector<int64_t>& shape);

// All tensors of a safetensors file by name; `file` opens each message. Refused: a header that does
// not fit the file or is over 100 MB, is not strict JSON, has other fields than dtype, shape and
// data_offsets, an unknown dtype, a shape whose bytes overflow or are not those of its offsets, and
// tensors that overlap, leave gaps, lie out of the file or off their element's alignment.
Result<std::map<std::string, TensorView>> parse_safetensors(std::span<const uint8_t> bytes,
                                                            const std::string& file);

// The weight_map of a model.safetensors.index.json: tensor to file, names of files in the same
// folder only. total_size is 0 when the index does not say it.
struct WeightIndex {
  std::map<std::string, std::string> file_of;
  int64_t total_size = 0;
};
Result<WeightIndex> parse_weight_index(std::string_view json, const std::string& source);

// One safetensors file, mapped.
//
// Thread:    const, any.
// Lifetime:  the tensors' bytes are valid while this lives.
class SafetensorsFile {
 public:
  static Result<std::unique_ptr<SafetensorsFile>> open(const std::string& path);

  const std::map<std::string, TensorView>& tensors() const { return tensors_; }
  // kNotFound, naming the file, when there is no such tensor.
  Result<TensorView> tensor(const std::string& name) const;
  int64_t offset_of(const TensorView& tensor) const {
    return tensor.bytes.data() - file_->bytes().data();
  }

 private:
  SafetensorsFile() = default;

  std::unique_ptr<MappedFile> file_;
  std::map<std::string, TensorView> tensors_;
};

}  // namespace mimo::checkpoint
