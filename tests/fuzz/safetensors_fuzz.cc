#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "checkpoint/expected_tensors.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/tensor_check.h"

namespace {

// A model of one layer, small enough that the fuzzer can spell its tensors.
mimo::checkpoint::ModelConfig small_config() {
  auto config = mimo::checkpoint::released_model_config();
  config.hidden = 4;
  config.vocab = 4;
  config.num_layers = 1;
  config.dense_intermediate = 4;
  config.full = {2, 1, 4, 2, 2, 1e4, 0, false};
  config.window = {2, 1, 4, 2, 2, 1e4, 8, true};
  config.attention.resize(1);
  config.is_moe.resize(1);
  config.num_mtp_layers = 0;
  return config;
}

void touch(std::span<const uint8_t> file, const mimo::checkpoint::TensorView& tensor) {
  const auto offset = tensor.bytes.data() - file.data();
  if (offset < 0 || offset + tensor.bytes.size() > file.size()) __builtin_trap();
  int64_t bytes = mimo::dtype_bytes(tensor.dtype);
  for (const int64_t dim : tensor.shape) bytes *= dim;
  if (bytes != static_cast<int64_t>(tensor.bytes.size())) __builtin_trap();
}

}  // namespace

// A safetensors file from anybody, as the input is; then the same input as a header before 4 KB of
// data, since the fuzzer finds no length by itself; then as an index.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto config = small_config();
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  uint64_t length = size;
  std::string framed(8, '\0');
  std::memcpy(framed.data(), &length, 8);
  framed.append(text);
  framed.append(4096, '\0');
  for (const std::string_view bytes : {text, std::string_view(framed)}) {
    const std::span<const uint8_t> file(reinterpret_cast<const uint8_t*>(bytes.data()),
                                        bytes.size());
    const auto tensors = mimo::checkpoint::parse_safetensors(file, "file");
    if (!tensors.ok()) continue;
    for (const auto& [name, tensor] : tensors.value()) touch(file, tensor);
    const auto checked = mimo::checkpoint::check_tensors(config, tensors.value(), "folder");
    if (!checked.ok() && checked.error().message.empty()) __builtin_trap();
  }
  const auto index = mimo::checkpoint::parse_weight_index(text, "index");
  if (!index.ok()) return 0;
  for (const auto& [tensor, file] : index.value().file_of) {
    if (file.find('/') != std::string::npos) __builtin_trap();
  }
  return 0;
}
