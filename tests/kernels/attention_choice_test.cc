#include "kernels/attention_choice.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

namespace mimo::kernels {
namespace {

AttentionQuery full_layer(int32_t capability) {
  return {.k_dim = 192, .v_dim = 128, .group = 16, .capability = capability};
}

void expect_kernel(const AttentionQuery& query, const std::string& kernel) {
  const auto choice = choose_attention(query);
  ASSERT_TRUE(choice.ok()) << choice.error().to_string();
  EXPECT_EQ(choice.value().kernel, kernel);
  EXPECT_FALSE(choice.value().reason.empty());
}

// `words`: what the refusal must name.
void expect_refused(const AttentionQuery& query, Code code, const std::vector<std::string>& words) {
  const auto choice = choose_attention(query);
  ASSERT_FALSE(choice.ok()) << choice.value().kernel;
  EXPECT_EQ(choice.error().code, code);
  for (const std::string& word : words) {
    EXPECT_NE(choice.error().message.find(word), std::string::npos)
        << "\"" << word << "\" is not in: " << choice.error().message;
  }
}

TEST(AttentionChoice, EveryDeviceHasAKernelForTheReleasedModel) {
  AttentionQuery window = {
      .k_dim = 192, .v_dim = 128, .group = 8, .sinks = true, .window = 128, .capability = 0};

  for (const int32_t capability : {80, 86, 89, 90, 100, 120}) {
    const char* const kernel = capability < 90    ? "mma_sync"
                               : capability == 90 ? "wgmma_sm90"
                                                  : "tma";
    window.capability = capability;
    expect_kernel(full_layer(capability), kernel);
    expect_kernel(window, kernel);
  }
  window.capability = 0;
  expect_kernel(full_layer(0), "cpu");
  expect_kernel(window, "cpu");
}

TEST(AttentionChoice, WidthsMayDifferEitherWay) {
  for (const auto& [k_dim, v_dim] : {std::pair{24, 40}, {32, 16}, {48, 32}, {256, 8}, {8, 256}}) {
    AttentionQuery query = full_layer(90);
    query.k_dim = k_dim;
    query.v_dim = v_dim;
    expect_kernel(query, k_dim <= 192 && v_dim <= 128 ? "wgmma_sm90" : "mma_sync");
  }
}

TEST(AttentionChoice, WhatTheCopyEnginesKernelLacksIsNamed) {
  AttentionQuery query = full_layer(90);
  query.wish = "tma";
  expect_kernel(query, "tma");
  query.k_dim = 200;
  expect_refused(query, Code::kUnimplemented, {"tma", "keys", "192", "200"});
  query.k_dim = 192;
  query.v_dim = 136;
  expect_refused(query, Code::kUnimplemented, {"tma", "values", "128", "136"});
  query.v_dim = 128;
  query.capability = 89;
  expect_refused(query, Code::kUnimplemented, {"tma", "90", "89"});
  query.capability = 0;
  expect_refused(query, Code::kUnimplemented, {"tma", "CPU"});
}

TEST(AttentionChoice, WhatAWidthLacksIsNamed) {
  AttentionQuery query = full_layer(90);
  query.k_dim = 264;
  expect_refused(query, Code::kUnimplemented, {"mma_sync", "256", "264"});
  query.k_dim = 192;
  query.v_dim = 100;
  expect_refused(query, Code::kUnimplemented, {"mma_sync", "multiple of 8", "100"});
  query.capability = 0;
  expect_kernel(query, "cpu");
}

TEST(AttentionChoice, GroupsUpToSixteen) {
  for (const int32_t group : {1, 3, 5, 8, 15, 16}) {
    AttentionQuery query = full_layer(90);
    query.group = group;
    expect_kernel(query, "wgmma_sm90");
  }
  AttentionQuery query = full_layer(90);
  query.group = 17;
  expect_refused(query, Code::kUnimplemented, {"mma_sync", "16", "17"});
}

TEST(AttentionChoice, PagesOfPowersOfTwo) {
  AttentionQuery query = full_layer(90);
  for (const int32_t page_tokens : {16, 32, 64, 128}) {
    query.page_tokens = page_tokens;
    expect_kernel(query, "wgmma_sm90");
  }
  for (const int32_t page_tokens : {1, 8, 48, 256}) {
    query.page_tokens = page_tokens;
    expect_refused(query, Code::kUnimplemented, {"pages", std::to_string(page_tokens)});
  }
}

TEST(AttentionChoice, TheCachesDtype) {
  AttentionQuery query = full_layer(90);
  query.k_dtype = DType::kF8E4m3;
  expect_refused(query, Code::kUnimplemented, {"mma_sync", "BF16", "F8_E4M3/BF16"});
  query.k_dtype = DType::kF32;
  expect_refused(query, Code::kUnimplemented, {"mma_sync", "BF16", "F32/BF16"});
  query.capability = 0;
  expect_kernel(query, "cpu");
  query.v_dtype = DType::kF8E4m3;
  expect_refused(query, Code::kUnimplemented, {"cpu", "F32/F8_E4M3"});
}

TEST(AttentionChoice, AnOldDeviceIsRefused) {
  expect_refused(full_layer(75), Code::kUnimplemented, {"mma_sync", "80", "75"});
}

TEST(AttentionChoice, AWishIsMetOrRefusedNeverReplaced) {
  AttentionQuery query = full_layer(90);
  query.wish = "mma_sync";
  expect_kernel(query, "mma_sync");
  query.wish = "cpu";
  expect_refused(query, Code::kUnimplemented, {"cpu", "90"});
  query.capability = 0;
  expect_kernel(query, "cpu");
  query.wish = "mma_sync";
  expect_refused(query, Code::kUnimplemented, {"mma_sync", "CPU"});
  query.wish = "wgmma_sm90";
  expect_refused(query, Code::kUnimplemented, {"wgmma_sm90", "CPU"});
  query.capability = 100;
  expect_refused(query, Code::kUnimplemented, {"wgmma_sm90", "90", "100"});
  query.wish = "flash";
  expect_refused(query, Code::kInvalidArgument,
                 {"flash", "auto", "wgmma_sm90", "tma", "mma_sync", "cpu"});
}

TEST(AttentionChoice, WhatIsNoLayerIsRefused) {
  for (int32_t AttentionQuery::*field : {&AttentionQuery::k_dim, &AttentionQuery::v_dim,
                                         &AttentionQuery::group, &AttentionQuery::page_tokens}) {
    AttentionQuery query = full_layer(90);
    query.*field = 0;
    expect_refused(query, Code::kInvalidArgument, {" = 0"});
  }
  AttentionQuery query = full_layer(90);
  query.window = -1;
  expect_refused(query, Code::kInvalidArgument, {"window = -1"});
}

TEST(AttentionChoice, TheReadmesTableIsThisOne) {
  std::ifstream file(MIMO_SOURCE_DIR "/kernels/README.md");
  std::stringstream text;
  text << file.rdbuf();
  const std::string begin = "<!-- attention-table -->\n";
  const std::string end = "<!-- /attention-table -->";
  const size_t from = text.str().find(begin);
  const size_t to = text.str().find(end);
  ASSERT_NE(from, std::string::npos);
  ASSERT_NE(to, std::string::npos);

  const std::string table = text.str().substr(from + begin.size(), to - from - begin.size());

  EXPECT_EQ(table, attention_table()) << "kernels/README.md should hold:\n" << attention_table();
}

}  // namespace
}  // namespace mimo::kernels
