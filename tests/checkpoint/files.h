#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

namespace mimo::checkpoint {

// A folder of this test's own, gone with it.
class TempFolder {
 public:
  TempFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "mimo-XXXXXX").string();
    EXPECT_NE(::mkdtemp(pattern.data()), nullptr);
    path_ = pattern;
  }
  ~TempFolder() { std::filesystem::remove_all(path_); }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline std::string read_text(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

inline void write_text(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

inline std::string golden(const std::string& name) {
  return std::string(MIMO_SOURCE_DIR) + "/tests/golden/" + name;
}
inline std::string tiny() { return std::string(MIMO_SOURCE_DIR) + "/models/tiny"; }

// A safetensors file taken apart: its header, and the bytes after it.
struct RawFile {
  nlohmann::ordered_json header;
  std::string data;

  static RawFile split(const std::string& bytes) {
    uint64_t length = 0;
    for (int i = 7; i >= 0; --i) length = length << 8 | static_cast<uint8_t>(bytes[i]);
    return {nlohmann::ordered_json::parse(bytes.substr(8, length)), bytes.substr(8 + length)};
  }
  // Takes a tensor out, bytes and all.
  void remove(const std::string& name) {
    const uint64_t begin = header.at(name)["data_offsets"][0];
    const uint64_t end = header.at(name)["data_offsets"][1];
    header.erase(name);
    data.erase(begin, end - begin);
    shift(end, -static_cast<int64_t>(end - begin));
  }
  // Puts a tensor of zeros before all others; `bytes` a multiple of 8 keeps the others aligned.
  void insert(const std::string& name, const std::string& dtype, const std::vector<int64_t>& shape,
              int64_t bytes) {
    shift(0, bytes);
    header[name] = {{"dtype", dtype}, {"shape", shape}, {"data_offsets", {0, bytes}}};
    data.insert(0, std::string(bytes, '\0'));
  }
  void replace(const std::string& name, const std::string& dtype, const std::vector<int64_t>& shape,
               int64_t bytes) {
    remove(name);
    insert(name, dtype, shape, bytes);
  }
  void shift(uint64_t from, int64_t by) {
    for (auto& [name, value] : header.items()) {
      if (name == "__metadata__" || value["data_offsets"][0] < from) continue;
      for (auto& offset : value["data_offsets"]) offset = offset.get<int64_t>() + by;
    }
  }
  std::string join() const { return join_text(header.dump()); }
  std::string join_text(std::string text) const {
    while (text.size() % 8 != 0) text += ' ';
    std::string length;
    for (int i = 0; i < 8; ++i) length += static_cast<char>(text.size() >> (8 * i) & 255);
    return length + text + data;
  }
};

// A copy of a checkpoint folder whose files a test may spoil.
class CheckpointCopy {
 public:
  explicit CheckpointCopy(const std::string& source) {
    for (const auto& entry : std::filesystem::directory_iterator(source)) {
      const std::string name = entry.path().filename().string();
      const bool wanted = name == "config.json" || name == "generation_config.json" ||
                          name == "tokenizer.json" || name.starts_with("model");
      if (wanted) std::filesystem::copy(entry.path(), file(name));
    }
  }
  const std::string& path() const { return folder_.path(); }
  std::string file(const std::string& name) const { return folder_.path() + "/" + name; }

  void edit_json(const std::string& name, const std::function<void(nlohmann::json&)>& edit) {
    nlohmann::json value = nlohmann::json::parse(read_text(file(name)));
    edit(value);
    write_text(file(name), value.dump());
  }
  void edit_tensors(const std::string& name, const std::function<void(RawFile&)>& edit) {
    RawFile raw = RawFile::split(read_text(file(name)));
    edit(raw);
    write_text(file(name), raw.join());
  }

 private:
  TempFolder folder_;
};

}  // namespace mimo::checkpoint
