#include "checkpoint/checkpoint.h"

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <set>
#include <span>
#include <thread>
#include <utility>

#include "base/check.h"
#include "base/hash.h"
#include "base/log.h"
#include "checkpoint/strict_json.h"
#include "checkpoint/tensor_check.h"

namespace mimo::checkpoint {
namespace {

constexpr int64_t kConfigBytesMax = 1 << 24;
constexpr int64_t kIndexBytesMax = 100'000'000;
constexpr int64_t kTokenizerBytesMax = 1 << 28;
constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";

bool exists(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

Result<ModelConfig> read_config(const std::string& folder, uint64_t& digest) {
  const std::string path = folder + "/config.json";
  TRY_ASSIGN(const std::string text, read_file(path, kConfigBytesMax));
  TRY_ASSIGN(ModelConfig config, parse_model_config(text, path));
  const std::string generation = folder + "/generation_config.json";
  if (exists(generation)) {
    TRY_ASSIGN(const std::string more, read_file(generation, kConfigBytesMax));
    TRY_ASSIGN(const std::vector<int32_t> ids,
               parse_generation_eos(more, config.vocab, generation));
    for (const int32_t id : ids) {
      const auto& known = config.eos_ids;
      if (std::find(known.begin(), known.end(), id) == known.end()) config.eos_ids.push_back(id);
    }
  }
  digest = hash_bytes({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
  for (const int32_t id : config.eos_ids) digest = hash_combine(digest, id);
  return config;
}

// The files' names, and which tensors the index promises in each. Without an index: the single
// file, and no promise.
struct FileList {
  std::vector<std::string> names;
  WeightIndex index;
  bool has_index = false;
};

Result<FileList> list_files(const std::string& folder) {
  const std::string index_path = folder + "/" + kIndexFile;
  FileList list;
  if (!exists(index_path)) {
    list.names = {kSingleFile};
    if (exists(folder + "/" + kSingleFile)) return list;
    return Error{Code::kNotFound,
                 folder + ": neither " + kSingleFile + " nor " + kIndexFile + " is there"};
  }
  TRY_ASSIGN(const std::string text, read_file(index_path, kIndexBytesMax));
  TRY_ASSIGN(list.index, parse_weight_index(text, index_path));
  std::set<std::string> names;
  for (const auto& [tensor, file] : list.index.file_of) names.insert(file);
  if (names.empty()) return invalid_argument(index_path + ": weight_map: empty");
  if (!names.contains(kSingleFile) && exists(folder + "/" + kSingleFile)) {
    return invalid_argument(folder + ": both " + kSingleFile + " and " + kIndexFile +
                            ", which does not name it: which one is the model?");
  }
  list.names.assign(names.begin(), names.end());
  list.has_index = true;
  return list;
}

// Maps the files and reads their headers, several at a time. The first refusal in the names' order
// is the answer, whichever thread met it.
Result<std::vector<std::unique_ptr<SafetensorsFile>>> open_files(
    const std::string& folder, const std::vector<std::string>& names) {
  using Opened = Result<std::unique_ptr<SafetensorsFile>>;
  std::vector<Opened> opened;
  opened.reserve(names.size());
  for (size_t i = 0; i < names.size(); ++i) opened.emplace_back(unavailable("not opened"));
  std::atomic<size_t> next{0};
  std::atomic<bool> failed{false};
  const auto work = [&] {
    for (size_t i = next++; i < names.size() && !failed; i = next++) {
      opened[i] = SafetensorsFile::open(folder + "/" + names[i]);
      if (!opened[i].ok()) failed = true;
    }
  };
  const size_t num_threads =
      std::min<size_t>({names.size(), 16, std::max(1u, std::thread::hardware_concurrency())});
  std::vector<std::thread> threads;
  for (size_t i = 1; i < num_threads; ++i) threads.emplace_back(work);
  work();
  for (std::thread& thread : threads) thread.join();

  std::vector<std::unique_ptr<SafetensorsFile>> files;
  for (Opened& file : opened) {
    // Files are begun in order, so a refusal stands before all that it kept from being opened.
    if (!file.ok()) return file.error();
    files.push_back(std::move(file).value());
  }
  return files;
}

// Each file holds what the index says, no more and no less.
Result<void> check_index(const FileList& list, const std::string& folder,
                         const std::vector<std::unique_ptr<SafetensorsFile>>& files) {
  const std::string index_path = folder + "/" + kIndexFile;
  int64_t bytes = 0;
  std::map<std::string, const SafetensorsFile*> file_named;
  for (size_t i = 0; i < files.size(); ++i) {
    file_named[list.names[i]] = files[i].get();
    for (const auto& [name, tensor] : files[i]->tensors()) {
      bytes += static_cast<int64_t>(tensor.bytes.size());
      const auto promised = list.index.file_of.find(name);
      if (promised != list.index.file_of.end() && promised->second == list.names[i]) continue;
      return invalid_argument(tensor.file + ": tensor " + cite(name) + ": " + index_path +
                              (promised == list.index.file_of.end()
                                   ? " does not name it"
                                   : " says that it is in " + promised->second));
    }
  }
  for (const auto& [name, file] : list.index.file_of) {
    if (file_named.at(file)->tensors().contains(name)) continue;
    return invalid_argument(folder + "/" + file + ": tensor " + cite(name) +
                            ": not there, although " + index_path + " says so");
  }
  if (list.index.total_size != 0 && list.index.total_size != bytes) {
    log_warning("index_total_size_differs",
                {{"file", index_path}, {"says", list.index.total_size}, {"found", bytes}});
  }
  return {};
}

uint64_t hash_text(std::string_view text, uint64_t seed) {
  return hash_bytes({reinterpret_cast<const uint8_t*>(text.data()), text.size()}, seed);
}

uint64_t hash_tensor(uint64_t digest, const std::string& name, const TensorView& tensor,
                     const std::string& file, int64_t offset) {
  digest = hash_text(file, hash_text(name, digest));
  digest = hash_combine(digest, static_cast<uint64_t>(tensor.dtype));
  digest = hash_combine(digest, tensor.shape.size());
  for (const int64_t dim : tensor.shape) digest = hash_combine(digest, dim);
  return hash_combine(digest, offset);
}

}  // namespace

Result<std::unique_ptr<Checkpoint>> Checkpoint::open(const std::string& folder) {
  std::unique_ptr<Checkpoint> checkpoint(new Checkpoint);
  checkpoint->folder_ = folder;
  TRY_ASSIGN(checkpoint->config_, read_config(folder, checkpoint->digest_));
  // Ranks with other tokens would hold a constraint's output to other masks.
  if (const std::string tokenizer = folder + "/tokenizer.json"; exists(tokenizer)) {
    TRY_ASSIGN(const std::string text, read_file(tokenizer, kTokenizerBytesMax));
    checkpoint->digest_ = hash_text(text, checkpoint->digest_);
  }
  TRY_ASSIGN(const FileList list, list_files(folder));
  TRY_ASSIGN(checkpoint->files_, open_files(folder, list.names));
  if (list.has_index) TRY(check_index(list, folder, checkpoint->files_));
  for (size_t i = 0; i < list.names.size(); ++i) {
    const SafetensorsFile& file = *checkpoint->files_[i];
    for (const auto& [name, tensor] : file.tensors()) {
      checkpoint->tensors_.emplace(name, tensor);
      checkpoint->digest_ =
          hash_tensor(checkpoint->digest_, name, tensor, list.names[i], file.offset_of(tensor));
    }
  }
  TRY_ASSIGN(TensorCheck checked, check_tensors(checkpoint->config_, checkpoint->tensors_, folder));
  checkpoint->config_.num_mtp_layers = checked.num_mtp_layers;
  checkpoint->form_ = std::move(checked.form);
  return checkpoint;
}

const TensorView& Checkpoint::tensor(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) {
    check_failed(__FILE__, __LINE__, "the tensor is one of the model's", name);
  }
  return found->second;
}

int64_t Checkpoint::tensor_bytes() const {
  int64_t sum = 0;
  for (const auto& [name, tensor] : tensors_) sum += static_cast<int64_t>(tensor.bytes.size());
  return sum;
}

}  // namespace mimo::checkpoint
