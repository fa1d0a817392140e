#include "node/model/cuda_module.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <string>

namespace mimo::node {
namespace {

Error refused(const std::string& path) {
  const auto loaded = CudaModule::load_file(path, "test", LogLevel::kInfo);
  EXPECT_FALSE(loaded.ok()) << path;
  if (loaded.ok()) return {};
  EXPECT_EQ(loaded.error().code, Code::kFailedPrecondition) << path;
  return loaded.error();
}

TEST(CudaModule, AFileThatIsNotThereIsRefusedInTheLoadersWords) {
  const Error error = refused("/nowhere/libmimo_cuda.so");

  EXPECT_NE(error.message.find("cannot load the CUDA backend: /nowhere/libmimo_cuda.so"),
            std::string::npos)
      << error.message;
}

TEST(CudaModule, AFileThatIsNoLibraryIsRefused) {
  const std::string path = ::testing::TempDir() + "/not_a_library.so";
  std::FILE* const file = std::fopen(path.c_str(), "w");
  ASSERT_NE(file, nullptr);
  std::fputs("text", file);
  std::fclose(file);

  EXPECT_NE(refused(path).message.find("cannot load the CUDA backend"), std::string::npos);
  std::remove(path.c_str());
}

TEST(CudaModule, AnotherLibraryIsRefused) {
  EXPECT_EQ(refused("libm.so.6").message,
            "libm.so.6 is not a CUDA backend: it has no mimo_cuda_module");
}

TEST(CudaModule, AModuleOfAnotherBuildIsRefusedByItsName) {
  const std::string message = refused(STRANGE_MODULE).message;

  EXPECT_NE(message.find("is of another build: 0.0.0-strange; expected "), std::string::npos)
      << message;
  EXPECT_NE(message.find(CudaModule::abi()), std::string::npos) << message;
}

TEST(CudaModule, NoneBesideThisProgramIsToldWithThePlaces) {
  const auto loaded = CudaModule::load("test", LogLevel::kInfo);

  ASSERT_FALSE(loaded.ok());
  EXPECT_NE(loaded.error().message.find("no libmimo_cuda.so in "), std::string::npos)
      << loaded.error().message;
}

#ifdef CUDA_MODULE
TEST(CudaModule, OursLoadsWithOrWithoutAGpu) {
  const auto loaded = CudaModule::load_file(CUDA_MODULE, "test", LogLevel::kInfo);
  ASSERT_TRUE(loaded.ok()) << loaded.error().to_string();

  const int32_t count = loaded.value()->num_devices();
  const auto device = loaded.value()->open_device(count);

  EXPECT_GE(count, 0);
  ASSERT_FALSE(device.ok());
  EXPECT_EQ(device.error().message, "device " + std::to_string(count) + "; this host has " +
                                        std::to_string(count) + " for CUDA");
}
#endif

}  // namespace
}  // namespace mimo::node
