#include "cli/scratch_folder.h"

#include <stdlib.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "base/log.h"

namespace mimo::cli {

Result<std::unique_ptr<ScratchFolder>> ScratchFolder::create() {
  std::error_code failed;
  const auto parent = std::filesystem::temp_directory_path(failed);
  if (failed) {
    return Error{Code::kFailedPrecondition,
                 "no folder for temporary files (TMPDIR, or /tmp): " + failed.message()};
  }
  std::string path = (parent / "mimo-XXXXXX").string();
  if (::mkdtemp(path.data()) == nullptr) {
    return Error{Code::kFailedPrecondition, path + ": cannot be made: " + std::strerror(errno)};
  }
  return std::unique_ptr<ScratchFolder>(new ScratchFolder(std::move(path)));
}

ScratchFolder::~ScratchFolder() {
  std::error_code failed;
  std::filesystem::remove_all(path_, failed);
  if (failed) log_warning("scratch_not_removed", {{"path", path_}, {"error", failed.message()}});
}

}  // namespace mimo::cli
