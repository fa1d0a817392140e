#include "coordinator/sessions/admission.h"

#include <gtest/gtest.h>

#include <chrono>

#include "coordinator/sessions/outbox.h"
#include "coordinator/sessions/session_table.h"
#include "tests/coordinator/sessions/stream_record.h"

namespace mimo::coordinator {
namespace {

TEST(Admission, RefusesOneTooManyAndSaysWhenToComeBack) {
  SimClock clock;
  Admission admission({.requests_max = 2, .sequences_max = 10}, clock);
  ASSERT_FALSE(admission.enter(1));
  ASSERT_FALSE(admission.enter(1));

  const auto refused = admission.enter(1);

  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->code, v1::ERROR_CODE_OVERLOADED);
  EXPECT_EQ(refused->error.code, Code::kResourceExhausted);
  EXPECT_EQ(refused->error.message, "2 requests are live, the most is 2");
  EXPECT_TRUE(refused->retryable);
  EXPECT_EQ(refused->retry_after_ms, 1000);
  EXPECT_EQ(admission.num_requests(), 2);
  admission.leave(1);
  EXPECT_FALSE(admission.enter(1));
}

TEST(Admission, CountsOutputsToo) {
  SimClock clock;
  Admission admission({.requests_max = 9, .sequences_max = 10}, clock);
  ASSERT_FALSE(admission.enter(8));

  EXPECT_EQ(admission.enter(3)->error.message,
            "8 outputs are live and 3 are asked for, the most is 10");
  EXPECT_FALSE(admission.enter(2));
}

TEST(Admission, TheTimeToComeBackFollowsHowFastPlacesBecomeFree) {
  SimClock clock;
  Admission admission({.requests_max = 64, .sequences_max = 64}, clock);
  for (int i = 0; i < 64; ++i) ASSERT_FALSE(admission.enter(1));
  for (int i = 0; i < 40; ++i) {
    clock.advance_ns(5'000'000'000);
    admission.leave(1);
  }
  for (int i = 0; i < 40; ++i) ASSERT_FALSE(admission.enter(1));

  EXPECT_NEAR(static_cast<double>(admission.enter(1)->retry_after_ms), 5000, 100);
}

TEST(Admission, ClosedIsDrainingAndEmptiesItself) {
  SimClock clock;
  Admission admission({}, clock);
  ASSERT_FALSE(admission.enter(4));

  admission.close();

  EXPECT_EQ(admission.enter(1)->code, v1::ERROR_CODE_DRAINING);
  EXPECT_EQ(admission.enter(1)->error.code, Code::kUnavailable);
  EXPECT_FALSE(admission.wait_empty(std::chrono::milliseconds(1)));
  admission.leave(4);
  EXPECT_TRUE(admission.wait_empty(std::chrono::milliseconds(1)));
}

class NoWriter : public StreamWriter {
 public:
  bool prepare() override { return false; }
  void write() override {}
  void cut() override {}
};

TEST(SessionTable, FindsBothWaysAndRefusesALiveId) {
  NoWriter writer;
  SessionTable table;
  auto first = std::make_shared<LiveSession>(writer);
  auto second = std::make_shared<LiveSession>(writer);
  first->request_id = second->request_id = "a";
  ASSERT_TRUE(table.add(first).ok());

  EXPECT_EQ(table.add(second).error().code, Code::kAlreadyExists);
  EXPECT_EQ(table.find_id("a"), first);
  EXPECT_EQ(table.find_number(session_number(first_sequence_id(first->number) + 63)), first);
  EXPECT_EQ(table.find_number(first->number + 1), nullptr);

  table.free_id(*first);
  EXPECT_EQ(table.find_id("a"), nullptr);
  EXPECT_EQ(table.find_number(first->number), first);  // until its stream is done
  ASSERT_TRUE(table.add(second).ok());
  table.remove(*first);  // does not take the id from its new owner
  EXPECT_EQ(table.find_id("a"), second);
  EXPECT_EQ(table.all().size(), 1u);
}

TEST(Outbox, TokensThatWaitTogetherAreOneMessage) {
  Outbox outbox("r");
  for (int i = 0; i < 3; ++i) {
    for (const int32_t output : {0, 1}) {
      outbox.token_event(output).add_tokens()->set_token_id(i);
      outbox.added(10);
    }
  }
  EXPECT_FALSE(outbox.ready());  // the prompt is first
  EXPECT_EQ(outbox.token_bytes(), 60);
  outbox.put_prompt({}, {});
  v1::FinishedEvent finished;
  finished.set_output_index(1);
  outbox.put_finished(finished, {});

  EXPECT_TRUE(outbox.take().has_prompt());
  const v1::GenerateResponse message = outbox.take();
  EXPECT_EQ(message.token().tokens_size(), 3);
  EXPECT_EQ(message.request_id(), "r");
  EXPECT_EQ(outbox.token_bytes(), 30);
  EXPECT_EQ(outbox.take().token().tokens_size(), 3);
  EXPECT_TRUE(outbox.take().has_finished());
  EXPECT_FALSE(outbox.ready());
}

TEST(Outbox, WithoutAPromptAnErrorIsAllThereIs) {
  Outbox outbox("r");
  outbox.token_event(0).add_tokens();
  outbox.added(10);

  outbox.put_error({}, {});

  EXPECT_TRUE(outbox.take().has_error());
  EXPECT_FALSE(outbox.ready());
  EXPECT_EQ(outbox.token_bytes(), 0);
}

TEST(Outbox, AMessageStopsGrowingAtAMegabyte) {
  Outbox outbox("r");
  outbox.put_prompt({}, {});
  outbox.token_event(0).add_tokens()->set_token_id(1);
  outbox.added(int64_t{1} << 20);
  outbox.token_event(0).add_tokens()->set_token_id(2);
  outbox.added(1);

  outbox.take();
  EXPECT_EQ(outbox.take().token().tokens(0).token_id(), 1);
  EXPECT_EQ(outbox.take().token().tokens(0).token_id(), 2);
}

}  // namespace
}  // namespace mimo::coordinator
