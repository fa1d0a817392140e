#include "checkpoint/safetensors.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <tuple>
#include <utility>

#include "base/bytes.h"
#include "checkpoint/strict_json.h"

namespace mimo::checkpoint {
namespace {

using Json = nlohmann::json;

constexpr int64_t kHeaderBytesMax = 100'000'000;
constexpr int64_t kLengthBytes = 8;
constexpr size_t kRankMax = 8;

std::optional<DType> dtype_of(const std::string& name) {
  for (const DType dtype : {DType::kF32, DType::kBf16, DType::kF8E4m3, DType::kI32, DType::kI64}) {
    if (name == dtype_name(dtype)) return dtype;
  }
  return std::nullopt;
}

// prod(shape) * element, or nothing when that is not an int64.
std::optional<int64_t> bytes_of(const std::vector<int64_t>& shape, int64_t element) {
  int64_t bytes = element;
  for (const int64_t dim : shape) {
    if (__builtin_mul_overflow(bytes, dim, &bytes)) return std::nullopt;
  }
  return bytes;
}

// Whole numbers from 0 to the largest int64; nothing when one is not.
std::optional<std::vector<int64_t>> whole_numbers(const Json& list) {
  if (!list.is_array()) return std::nullopt;
  std::vector<int64_t> out;
  for (const Json& value : list) {
    if (!value.is_number_unsigned()) return std::nullopt;
    const auto number = value.get<uint64_t>();
    if (number > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
    out.push_back(static_cast<int64_t>(number));
  }
  return out;
}

struct Entry {
  const std::string* name;
  DType dtype;
  std::vector<int64_t> shape;
  int64_t begin;
  int64_t end;
};

Result<void> check_fields(const Json& value) {
  if (!value.is_object()) return invalid_argument("found " + cite(value) + ", expected an object");
  for (const char* name : {"dtype", "shape", "data_offsets"}) {
    if (!value.contains(name)) return invalid_argument(std::string(name) + ": missing");
  }
  if (value.size() == 3) return {};
  for (const auto& [name, unused] : value.items()) {
    if (name == "dtype" || name == "shape" || name == "data_offsets") continue;
    return invalid_argument("a field " + cite(name) + " that is not known");
  }
  return {};
}

Result<Entry> parse_entry(const std::string& name, const Json& value) {
  TRY(check_fields(value));
  const Json& dtype_field = value["dtype"];
  const auto dtype =
      dtype_field.is_string() ? dtype_of(dtype_field.get_ref<const std::string&>()) : std::nullopt;
  if (!dtype) {
    return invalid_argument("dtype: found " + cite(dtype_field) +
                            ", expected F32, BF16, F8_E4M3, I32 or I64");
  }
  auto shape = whole_numbers(value["shape"]);
  if (!shape || shape->size() > kRankMax) {
    return invalid_argument("shape: found " + cite(value["shape"]) + ", expected at most " +
                            std::to_string(kRankMax) + " whole numbers");
  }
  const auto offsets = whole_numbers(value["data_offsets"]);
  if (!offsets || offsets->size() != 2 || offsets->at(0) > offsets->at(1)) {
    return invalid_argument("data_offsets: found " + cite(value["data_offsets"]) +
                            ", expected [begin, end] with begin <= end");
  }
  const auto bytes = bytes_of(*shape, dtype_bytes(*dtype));
  const int64_t found = offsets->at(1) - offsets->at(0);
  if (bytes != found) {
    return invalid_argument(describe(*dtype, *shape) + " is " +
                            (bytes ? std::to_string(*bytes) : "more than 2^63") +
                            " bytes, but data_offsets are " + std::to_string(found) + " apart");
  }
  return Entry{&name, *dtype, *std::move(shape), offsets->at(0), offsets->at(1)};
}

// Every byte of the data belongs to one tensor, and elements lie where they can be read.
Result<void> check_layout(std::vector<Entry>& entries, int64_t data_begin, int64_t data_bytes,
                          const std::string& file) {
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::tie(a.begin, a.end, *a.name) < std::tie(b.begin, b.end, *b.name);
  });
  int64_t at = 0;
  for (const Entry& entry : entries) {
    const std::string where = file + ": tensor " + cite(*entry.name) + ": ";
    const std::string range = "bytes [" + std::to_string(entry.begin) + ", " +
                              std::to_string(entry.end) + ") of the data";
    if (entry.end > data_bytes) {
      return Error{Code::kDataLoss, where + range + " end after the file's " +
                                        std::to_string(data_bytes) + ": cut short?"};
    }
    if (entry.begin < at) return invalid_argument(where + range + " overlap another tensor");
    if (entry.begin > at) {
      return invalid_argument(where + range + " follow a gap from byte " + std::to_string(at));
    }
    if ((data_begin + entry.begin) % dtype_bytes(entry.dtype) != 0) {
      return invalid_argument(where + "starts at byte " + std::to_string(data_begin + entry.begin) +
                              " of the file, not a multiple of its element's " +
                              std::to_string(dtype_bytes(entry.dtype)) + " bytes");
    }
    at = entry.end;
  }
  if (at == data_bytes) return {};
  return invalid_argument(file + ": " + std::to_string(data_bytes - at) +
                          " bytes after the last tensor belong to none");
}

// The header's JSON text.
Result<std::string_view> header_text(std::span<const uint8_t> bytes, const std::string& file) {
  const auto size = static_cast<int64_t>(bytes.size());
  if (size < kLengthBytes) {
    return Error{Code::kDataLoss, file + ": " + std::to_string(size) +
                                      " bytes, expected at least the header's length of 8"};
  }
  uint64_t length = 0;
  for (int i = 0; i < kLengthBytes; ++i) length |= uint64_t{bytes[i]} << (8 * i);
  if (length > static_cast<uint64_t>(kHeaderBytesMax)) {
    return invalid_argument(file + ": a header of " + std::to_string(length) +
                            " bytes, expected at most " + std::to_string(kHeaderBytesMax) +
                            ": not a safetensors file?");
  }
  if (static_cast<int64_t>(length) > size - kLengthBytes) {
    return Error{Code::kDataLoss, file + ": a header of " + std::to_string(length) +
                                      " bytes in a file of " + std::to_string(size) +
                                      ": cut short?"};
  }
  return std::string_view(reinterpret_cast<const char*>(bytes.data()) + kLengthBytes, length);
}

Result<void> check_metadata(const Json& metadata, const std::string& file) {
  bool strings = metadata.is_object();
  for (const Json& value : metadata) strings = strings && value.is_string();
  if (strings) return {};
  return invalid_argument(file + ": __metadata__: found " + cite(metadata) +
                          ", expected an object of strings");
}

Result<void> check_file_name(const std::string& name) {
  const bool plain = name.find('/') == std::string::npos && name.find('\0') == std::string::npos &&
                     name.front() != '.' && name.ends_with(".safetensors");
  if (plain) return {};
  return invalid_argument("found " + cite(name) +
                          ", expected the name of a .safetensors file in the same folder");
}

}  // namespace

std::string describe(DType dtype, const std::vector<int64_t>& shape) {
  std::string out = std::string(dtype_name(dtype)) + " [";
  for (size_t i = 0; i < shape.size(); ++i) {
    out += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  }
  return out + "]";
}

Result<std::map<std::string, TensorView>> parse_safetensors(std::span<const uint8_t> bytes,
                                                            const std::string& file) {
  TRY_ASSIGN(const std::string_view text, header_text(bytes, file));
  TRY_ASSIGN(const Json header, parse_strict_json(text, {.depth_max = 3}, file + ": header"));
  std::vector<Entry> entries;
  for (const auto& [name, value] : header.items()) {
    if (name == "__metadata__") {
      TRY(check_metadata(value, file));
      continue;
    }
    auto entry = parse_entry(name, value);
    if (!entry.ok()) {
      return entry.error().with_context(file + ": tensor " + cite(name));
    }
    entries.push_back(std::move(entry).value());
  }
  const int64_t data_begin = kLengthBytes + static_cast<int64_t>(text.size());
  const int64_t data_bytes = static_cast<int64_t>(bytes.size()) - data_begin;
  TRY(check_layout(entries, data_begin, data_bytes, file));
  std::map<std::string, TensorView> tensors;
  for (Entry& entry : entries) {
    tensors[*entry.name] = {entry.dtype, std::move(entry.shape),
                            bytes.subspan(data_begin + entry.begin, entry.end - entry.begin), file};
  }
  return tensors;
}

Result<WeightIndex> parse_weight_index(std::string_view json, const std::string& source) {
  TRY_ASSIGN(const Json object, parse_strict_json(json, {.depth_max = 3}, source));
  WeightIndex index;
  for (const auto& [name, value] : object.items()) {
    if (name != "metadata" && name != "weight_map") {
      return invalid_argument(source + ": a field " + cite(name) + " that is not known");
    }
    if (!value.is_object()) {
      return invalid_argument(source + ": " + name + ": found " + cite(value) +
                              ", expected an object");
    }
  }
  if (!object.contains("weight_map")) return invalid_argument(source + ": weight_map: missing");
  for (const auto& [tensor, file] : object["weight_map"].items()) {
    const std::string where = source + ": weight_map: tensor " + cite(tensor);
    if (!file.is_string() || file.get_ref<const std::string&>().empty()) {
      return invalid_argument(where + ": found " + cite(file) + ", expected a file's name");
    }
    const auto named = check_file_name(file.get_ref<const std::string&>());
    if (!named.ok()) return named.error().with_context(where);
    index.file_of[tensor] = file.get<std::string>();
  }
  if (object.contains("metadata") && object["metadata"].contains("total_size")) {
    const auto total = whole_numbers(Json::array({object["metadata"]["total_size"]}));
    if (!total) {
      return invalid_argument(source + ": metadata.total_size: found " +
                              cite(object["metadata"]["total_size"]) + ", expected a whole number");
    }
    index.total_size = total->front();
  }
  return index;
}

Result<std::unique_ptr<SafetensorsFile>> SafetensorsFile::open(const std::string& path) {
  std::unique_ptr<SafetensorsFile> file(new SafetensorsFile);
  TRY_ASSIGN(file->file_, MappedFile::open(path));
  TRY_ASSIGN(file->tensors_, parse_safetensors(file->file_->bytes(), path));
  return file;
}

Result<TensorView> SafetensorsFile::tensor(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) {
    return Error{Code::kNotFound, file_->path() + ": no tensor " + cite(name)};
  }
  return found->second;
}

}  // namespace mimo::checkpoint
