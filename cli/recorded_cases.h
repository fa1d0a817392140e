#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "checkpoint/safetensors.h"

namespace mimo::cli {

// One recorded answer of the reference implementation.
struct RecordedCase {
  std::vector<int32_t> prompt;
  std::vector<int32_t> greedy;
  std::vector<float> logits;  // [prompt, vocab] f32; empty where only tokens were recorded
  int32_t vocab = 0;          // columns of logits
  // The least distance of the two best logits along the greedy answer; 0 where it is not recorded.
  double min_top2_margin = 0;
};

// A checkpoint's expected.json and expected_logits.safetensors. Errors name file and case.
Result<std::vector<RecordedCase>> read_recorded_cases(const std::string& folder);

}  // namespace mimo::cli
