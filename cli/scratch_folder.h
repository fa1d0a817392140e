#pragma once

#include <memory>
#include <string>

#include "base/result.h"

namespace mimo::cli {

// A folder of our own for files that pass between our processes: nobody else can foresee its name
// or write there.
//
// Thread:    any.
// Lifetime:  the destructor removes it and what is in it.
class ScratchFolder {
 public:
  // In TMPDIR, or /tmp.
  static Result<std::unique_ptr<ScratchFolder>> create();
  ~ScratchFolder();
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  const std::string& path() const { return path_; }

 private:
  explicit ScratchFolder(std::string path) : path_(std::move(path)) {}

  std::string path_;
};

}  // namespace mimo::cli
