#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <ostream>

#include "harness.h"

namespace mimo::node::model_test {
namespace {

constexpr int32_t kWholePrompt = 400;
constexpr float kLogitsTolerance = 2e-3f;

struct Layout {
  const char* checkpoint;
  int32_t tp;
  int32_t page_tokens;
};
std::ostream& operator<<(std::ostream& out, const Layout& layout) {
  return out << layout.checkpoint << " tp " << layout.tp << " page " << layout.page_tokens;
}

class Golden : public ::testing::TestWithParam<Layout> {};

struct LogitsError {
  float max = 0;       // absolute
  float relative = 0;  // root mean square, over that of the recorded logits
};

// How far the rows' logits are from the recorded ones; infinite when a row or a logit is missing.
LogitsError logits_error(const Sequence& sequence, const std::vector<float>& expected) {
  constexpr float kMissing = std::numeric_limits<float>::infinity();
  const size_t num_rows = sequence.prompt.size();
  const size_t vocab = expected.size() / num_rows;
  float worst = 0;
  double errors = 0;
  double squares = 0;
  for (size_t row = 0; row < num_rows; ++row) {
    const bool last = row + 1 == num_rows;
    const auto score = sequence.scores.find(static_cast<int32_t>(row) + 1);
    if (!last && score == sequence.scores.end()) return {kMissing, kMissing};
    const kernels::TokenChoice& choice = last ? sequence.outputs.at(0) : score->second;
    if (choice.top.size() != vocab) return {kMissing, kMissing};
    for (const kernels::TokenLogprob& entry : choice.top) {
      const float wanted = expected[row * vocab + entry.id];
      const float error = std::fabs(entry.logprob - wanted);
      worst = std::isnan(error) ? kMissing : std::max(worst, error);
      errors += double{error} * error;
      squares += double{wanted} * wanted;
    }
  }
  return {worst, static_cast<float>(std::sqrt(errors / squares))};
}

TEST_P(Golden, LogitsAndGreedyTokensAreTheRecordedOnesAtEveryChunk) {
  const Layout layout = GetParam();
  const std::string folder = checkpoint_folder(layout.checkpoint);
  const std::vector<GoldenCase> cases = golden_cases(folder);
  auto cluster =
      Cluster::create(folder, {.tp = layout.tp, .limits = test_limits(layout.page_tokens)});
  ASSERT_TRUE(cluster.ok()) << cluster.error().to_string();

  const std::vector<int32_t> chunks =
      kSanitized ? std::vector<int32_t>{64} : std::vector<int32_t>{7, 64, kWholePrompt};
  for (const int32_t chunk : chunks) {
    std::vector<Sequence> sequences;
    for (const GoldenCase& one : cases) {
      sequences.push_back(golden_sequence(one, !one.logits.empty()));
    }
    generate(*cluster.value(), sequences, chunk);

    float worst = 0;
    for (size_t i = 0; i < cases.size(); ++i) {
      EXPECT_EQ(sequences[i].output_ids(), cases[i].greedy) << "case " << i << " chunk " << chunk;
      if (cases[i].logits.empty()) continue;
      worst =
          std::max(worst, logits_error(sequences[i], golden_logits(folder, cases[i].logits)).max);
    }
    EXPECT_LT(worst, kLogitsTolerance) << "chunk " << chunk;
    RecordProperty("logits_max_abs_err_chunk_" + std::to_string(chunk), std::to_string(worst));
  }
}

std::vector<Layout> layouts() {
  std::vector<Layout> all;
  for (const char* checkpoint :
       {"bf16-small-window", "fp8-real-heads", "bf16-real-heads-window128", "tiny"}) {
    for (const int32_t tp : {1, 2, 4}) {
      for (const int32_t page_tokens : {16, 64}) {
        if (kSanitized && (tp != 2 || page_tokens != 16)) continue;
        all.push_back({checkpoint, tp, page_tokens});
      }
    }
  }
  all.push_back({"bf16-small-window", 8, 16});
  all.push_back({"fp8-real-heads", 8, 64});
  all.push_back({"bf16-real-heads-window128", 8, 32});
  all.push_back({"bf16-real-heads-window128", 16, 128});
  return all;
}

INSTANTIATE_TEST_SUITE_P(Layouts, Golden, ::testing::ValuesIn(layouts()));

TEST(GoldenRefusal, HeadsThatRanksDoNotDivideAreRefusedWithTheNumbers) {
  const auto refused = Cluster::create(checkpoint_folder("tiny"), {.tp = 8});

  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Code::kInvalidArgument);
  EXPECT_NE(refused.error().message.find("8"), std::string::npos) << refused.error().message;
  EXPECT_NE(refused.error().message.find("4"), std::string::npos) << refused.error().message;
}

// The GPU's roundings: bf16 activations and cache, FP8 inputs quantised. Greedy paths whose every
// choice was made by a wide margin must survive them; the logits' error is reported.
TEST(DeviceRounding, GreedyTokensOfWideMarginsSurvive) {
  constexpr double kWideMargin = 2.0;
  const std::string folder = checkpoint_folder("tiny");
  const std::vector<GoldenCase> cases = golden_cases(folder);
  auto cluster = Cluster::create(
      folder, {.tp = 2, .mode = kernels::CpuMode::kDevice, .limits = test_limits(64)});
  ASSERT_TRUE(cluster.ok()) << cluster.error().to_string();
  std::vector<Sequence> sequences;
  for (const GoldenCase& one : cases) sequences.push_back(golden_sequence(one, true));

  generate(*cluster.value(), sequences, 64);

  int32_t num_wide = 0;
  for (size_t i = 0; i < cases.size(); ++i) {
    if (!cases[i].logits.empty()) {
      const LogitsError error = logits_error(sequences[i], golden_logits(folder, cases[i].logits));
      EXPECT_GT(error.relative, 1e-3f);  // the mode does round
      EXPECT_LT(error.relative, 0.1f);
      RecordProperty("logits_relative_err_" + std::to_string(i), std::to_string(error.relative));
      RecordProperty("logits_max_abs_err_" + std::to_string(i), std::to_string(error.max));
    }
    if (cases[i].min_top2_margin < kWideMargin) continue;
    ++num_wide;
    EXPECT_EQ(sequences[i].output_ids(), cases[i].greedy) << "case " << i;
  }
  EXPECT_EQ(num_wide, 6);  // cases 0, 2, 3, 4, 6 and 7
}

}  // namespace
}  // namespace mimo::node::model_test
