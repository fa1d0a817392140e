#include "node/model/cuda_module.h"

#include <dlfcn.h>
#include <unistd.h>

#include <array>
#include <cstring>

namespace mimo::node {
namespace {

constexpr const char* kFileName = "libmimo_cuda.so";
constexpr const char* kSymbol = "mimo_cuda_module";

Error cannot(const std::string& what) { return Error{Code::kFailedPrecondition, what}; }

Result<std::string> program_folder() {
  std::array<char, 4096> path{};
  const ssize_t size = ::readlink("/proc/self/exe", path.data(), path.size() - 1);
  if (size <= 0) return cannot("cannot read /proc/self/exe to find " + std::string(kFileName));
  const std::string program(path.data(), static_cast<size_t>(size));
  return program.substr(0, program.rfind('/'));
}

}  // namespace

const char* CudaModule::abi() { return MIMO_CUDA_ABI; }

Result<CudaBackend*> CudaModule::load(const std::string& process, LogLevel level) {
  TRY_ASSIGN(const std::string folder, program_folder());
  for (const char* part : {"/", "/lib/"}) {
    const std::string path = folder + part + kFileName;
    if (::access(path.c_str(), F_OK) == 0) return load_file(path, process, level);
  }
  return cannot("the CUDA backend is not here: no " + std::string(kFileName) + " in " + folder +
                " or " + folder + "/lib");
}

Result<CudaBackend*> CudaModule::load_file(const std::string& path, const std::string& process,
                                           LogLevel level) {
  void* const library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return cannot("cannot load the CUDA backend: " + std::string(dlerror()));
  const auto* entry = static_cast<const CudaModuleEntry*>(::dlsym(library, kSymbol));
  if (entry == nullptr) return cannot(path + " is not a CUDA backend: it has no " + kSymbol);
  if (std::strcmp(entry->abi, abi()) != 0) {
    return cannot(path + " is of another build: " + entry->abi + "; expected " + abi());
  }
  return &entry->open(process.c_str(), level);
}

}  // namespace mimo::node
