#include "base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/log.h"

namespace mimo {
namespace {

Error system_error(const std::string& path, const char* what) {
  const int number = errno;
  Code code = Code::kUnknown;
  if (number == ENOENT || number == ENOTDIR) code = Code::kNotFound;
  if (number == EACCES || number == EPERM) code = Code::kPermissionDenied;
  return {code, path + ": " + what + ": " + std::strerror(number)};
}

}  // namespace

Result<std::unique_ptr<MappedFile>> MappedFile::open(const std::string& path) {
  // Without O_NONBLOCK a pipe's name would keep us here until somebody writes into it.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return system_error(path, "cannot open");
  struct stat info {};
  if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    const Error error = S_ISREG(info.st_mode)
                            ? system_error(path, "cannot stat")
                            : Error{Code::kInvalidArgument, path + ": not a regular file"};
    ::close(fd);
    return error;
  }
  void* data = nullptr;
  if (info.st_size > 0) {
    data = ::mmap(nullptr, static_cast<size_t>(info.st_size), PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED) {
      const Error error = system_error(path, "cannot map");
      ::close(fd);
      return error;
    }
  }
  ::close(fd);
  return std::unique_ptr<MappedFile>(
      new MappedFile(path, static_cast<const uint8_t*>(data), info.st_size));
}

MappedFile::MappedFile(std::string path, const uint8_t* data, int64_t size)
    : path_(std::move(path)), data_(data), size_(size) {}

MappedFile::~MappedFile() {
  if (data_ == nullptr) return;
  if (::munmap(const_cast<uint8_t*>(data_), static_cast<size_t>(size_)) != 0) {
    log_error("munmap_failed", {{"path", path_}, {"error", std::strerror(errno)}});
  }
}

Result<std::string> read_file(const std::string& path, int64_t size_max) {
  TRY_ASSIGN(const auto file, MappedFile::open(path));
  const auto bytes = file->bytes();
  if (static_cast<int64_t>(bytes.size()) > size_max) {
    return Error{Code::kOutOfRange, path + ": " + std::to_string(bytes.size()) +
                                        " bytes, more than the " + std::to_string(size_max) +
                                        " expected at most"};
  }
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

}  // namespace mimo
