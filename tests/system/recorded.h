#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace mimo::testing {

// One recorded answer of a checkpoint: expected.json.
struct RecordedCase {
  std::vector<int32_t> prompt;
  std::vector<int32_t> greedy;
};
// CHECKs that the file is there.
std::vector<RecordedCase> recorded_cases(const std::string& model_folder);

}  // namespace mimo::testing
