#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/result.h"

namespace mimo {

// A file mapped read-only into memory.
//
// Thread:    any, once open.
// Lifetime:  bytes() are valid while this lives. A file cut short by somebody else after open()
//            ends the process at the next touch (SIGBUS): checkpoints are not written while served.
class MappedFile {
 public:
  // NotFound, PermissionDenied or Unknown with the system's reason. An empty file maps to no bytes.
  static Result<std::unique_ptr<MappedFile>> open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const uint8_t> bytes() const { return {data_, static_cast<size_t>(size_)}; }
  const std::string& path() const { return path_; }

 private:
  MappedFile(std::string path, const uint8_t* data, int64_t size);

  std::string path_;
  const uint8_t* data_;
  int64_t size_;
};

// A whole small file; kOutOfRange when it is larger than `size_max` bytes.
Result<std::string> read_file(const std::string& path, int64_t size_max);

}  // namespace mimo
