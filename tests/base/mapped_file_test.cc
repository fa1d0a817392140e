#include "base/mapped_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

namespace mimo {
namespace {

class MappedFileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = std::filesystem::path(::testing::TempDir()) /
              (std::string("mapped_file_") + info->name() + std::to_string(::getpid()));
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string write(const std::string& text) {
    const auto path = folder_ / "file";
    std::ofstream(path, std::ios::binary) << text;
    return path.string();
  }

  std::filesystem::path folder_;
};

TEST_F(MappedFileTest, HoldsTheFilesBytes) {
  const auto file = MappedFile::open(write(std::string("a\0b", 3))).value();

  ASSERT_EQ(file->bytes().size(), 3u);
  EXPECT_EQ(file->bytes()[2], 'b');
}

TEST_F(MappedFileTest, EmptyFileHasNoBytes) {
  EXPECT_TRUE(MappedFile::open(write("")).value()->bytes().empty());
}

TEST_F(MappedFileTest, RefusesWhatIsNotThereOrNotAFile) {
  const auto missing = MappedFile::open((folder_ / "missing").string());
  const auto folder = MappedFile::open(folder_.string());

  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().code, Code::kNotFound);
  EXPECT_NE(missing.error().message.find("missing"), std::string::npos);
  ASSERT_FALSE(folder.ok());
  EXPECT_EQ(folder.error().code, Code::kInvalidArgument);
}

TEST_F(MappedFileTest, APipeThatNobodyWritesIsRefusedAtOnce) {
  const std::string path = (folder_ / "pipe").string();
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);

  const auto pipe = MappedFile::open(path);

  ASSERT_FALSE(pipe.ok());
  EXPECT_EQ(pipe.error().code, Code::kInvalidArgument);
  EXPECT_NE(pipe.error().message.find("not a regular file"), std::string::npos);
}

TEST_F(MappedFileTest, ReadFileKeepsItsBound) {
  const std::string path = write("12345");

  EXPECT_EQ(read_file(path, 5).value(), "12345");
  const auto refused = read_file(path, 4);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Code::kOutOfRange);
}

}  // namespace
}  // namespace mimo
