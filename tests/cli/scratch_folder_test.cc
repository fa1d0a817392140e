#include "cli/scratch_folder.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>

namespace mimo::cli {
namespace {

// TMPDIR as it should be during a test.
class TemporaryFolderVariable {
 public:
  explicit TemporaryFolderVariable(const std::string& value) {
    if (const char* before = std::getenv("TMPDIR"); before != nullptr) before_ = before;
    ::setenv("TMPDIR", value.c_str(), 1);
  }
  ~TemporaryFolderVariable() {
    if (before_) {
      ::setenv("TMPDIR", before_->c_str(), 1);
    } else {
      ::unsetenv("TMPDIR");
    }
  }

 private:
  std::optional<std::string> before_;
};

TEST(ScratchFolder, EachIsAnotherAndOnlyOurs) {
  const auto one = ScratchFolder::create().value();
  const auto two = ScratchFolder::create().value();

  struct stat info {};
  ASSERT_EQ(::stat(one->path().c_str(), &info), 0);
  EXPECT_TRUE(S_ISDIR(info.st_mode));
  EXPECT_EQ(info.st_mode & 0777u, 0700u);
  EXPECT_NE(one->path(), two->path());
}

TEST(ScratchFolder, IsRemovedWithWhatIsInIt) {
  std::string path;
  {
    const auto folder = ScratchFolder::create().value();
    path = folder->path();
    std::ofstream(path + "/file") << "text";
    ASSERT_TRUE(std::filesystem::exists(path + "/file"));
  }

  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(ScratchFolder, ATemporaryFolderThatIsNotThereIsAnError) {
  const TemporaryFolderVariable variable("/no/such/folder");

  const auto folder = ScratchFolder::create();

  ASSERT_FALSE(folder.ok());
  EXPECT_EQ(folder.error().code, Code::kFailedPrecondition);
  EXPECT_NE(folder.error().message.find("TMPDIR"), std::string::npos);
}

}  // namespace
}  // namespace mimo::cli
