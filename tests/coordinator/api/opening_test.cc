// Which thread makes a request ready: the caller's, unless that would hold it up.
#include <gtest/gtest.h>

#include <memory>
#include <thread>

#include "tests/coordinator/api/front_door.h"

namespace mimo::coordinator {
namespace {

struct NobodyReads final : StreamWriter {
  bool prepare() override { return false; }
  void write() override {}
  void cut() override {}
};

// Whether it is this thread that brings the leader `num_outputs` sequences.
bool opens_here(v1::GenerateRequest request, int32_t num_outputs) {
  auto options = FrontDoor::by_hand();
  options.sessions.limits.positions_max = 1'000'000;
  FrontDoor door(options);
  request.mutable_sampling()->set_num_sequences(num_outputs);
  NobodyReads nobody;
  const auto live = std::make_shared<LiveSession>(nobody);

  door.sessions.open(request, live);

  EXPECT_TRUE(door.engine.wait_live(num_outputs));
  door.sessions.gone(*live);
  door.sessions.done(*live);
  return door.engine.submitter() == std::this_thread::get_id();
}

v1::GenerateRequest ids_request(int32_t num_ids) {
  v1::GenerateRequest request;
  for (int32_t i = 0; i < num_ids; ++i) request.mutable_token_ids()->add_ids(97);
  return request;
}

TEST(Opening, SmallPromptsAreMadeReadyAtOnce) {
  EXPECT_TRUE(opens_here(text_request("hey", 5), 64));
  EXPECT_TRUE(opens_here(ids_request(4'000), 1));
}

TEST(Opening, WhatIsLongOrCopiedOftenIsLeftToOthers) {
  EXPECT_FALSE(opens_here(text_request(std::string(5'000, 'z'), 5), 1));
  EXPECT_FALSE(opens_here(text_request(std::string(2'000, 'z'), 5), 64));
  EXPECT_FALSE(opens_here(ids_request(70'000), 1));
  EXPECT_FALSE(opens_here(ids_request(4'000), 64));
}

}  // namespace
}  // namespace mimo::coordinator
