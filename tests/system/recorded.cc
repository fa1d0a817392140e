#include "tests/system/recorded.h"

#include <fstream>
#include <nlohmann/json.hpp>

#include "base/check.h"

namespace mimo::testing {

std::vector<RecordedCase> recorded_cases(const std::string& model_folder) {
  std::ifstream file(model_folder + "/expected.json");
  CHECK(file.good());
  std::vector<RecordedCase> cases;
  const auto all = nlohmann::json::parse(file);
  for (const auto& entry : all.at("cases")) {
    cases.push_back({entry.at("prompt").get<std::vector<int32_t>>(),
                     entry.at("greedy").get<std::vector<int32_t>>()});
  }
  return cases;
}

}  // namespace mimo::testing
