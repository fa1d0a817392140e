#include "coordinator/sessions/session.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/coordinator/sessions/stream_record.h"

namespace mimo::coordinator {
namespace {

constexpr int64_t kFirst = 640;

// One session, fed by hand.
class Fed {
 public:
  explicit Fed(const v1::GenerateRequest& request, RequestLimits limits = small_limits())
      : tokenizer_(byte_tokenizer()), outbox_("r") {
    auto spec = parse_request(request, limits, /*fresh_seed=*/7).value();
    if (spec.is_text) spec.prompt = tokenizer_->encode(spec.text).value();
    check_prompt(limits, &spec).value();
    session.emplace(Session::create(std::move(spec), kFirst, tokenizer_.get()).value());
    session->start(&outbox_);
  }

  Result<void> feed(const v1::LeaderEvent& event) {
    auto result = session->on_event(event, &outbox_, &cancels);
    record.drain(&outbox_);
    return result;
  }
  Result<void> feed(const std::vector<int32_t>& ids, int32_t finish = 0, int32_t stop_id = 0,
                    int32_t output = 0) {
    v1::LeaderEvent event;
    event.set_sequence_id(kFirst + output);
    for (const int32_t id : ids) event.add_tokens()->set_id(id);
    event.set_finish(finish);
    event.set_stop_id(stop_id);
    return feed(event);
  }
  void cancel() {
    session->cancel_outputs(&outbox_);
    record.drain(&outbox_);
  }
  const StreamRecord::Output& output(int32_t i = 0) { return record.outputs[i]; }

  std::optional<Session> session;
  StreamRecord record;
  std::vector<int64_t> cancels;

 private:
  std::unique_ptr<text::Tokenizer> tokenizer_;
  Outbox outbox_;
};

v1::GenerateRequest request(const std::string& text = "hi") {
  v1::GenerateRequest request;
  request.set_text(text);
  request.mutable_sampling()->set_seed(41);
  return request;
}

TEST(Session, SubmitCarriesTheRequestAndEachOutputASeedOfItsOwn) {
  auto wanted = request("ab");
  wanted.mutable_sampling()->set_num_sequences(3);
  wanted.mutable_sampling()->set_top_k(5);
  wanted.mutable_stopping()->set_max_tokens(9);
  wanted.mutable_stopping()->add_stop_token_ids(65);
  Fed fed(wanted);

  const v1::Submit last = fed.session->submit(2);

  EXPECT_EQ(last.sequence_id(), kFirst + 2);
  EXPECT_EQ(last.seed(), 43u);
  EXPECT_EQ(last.max_tokens(), 9);
  EXPECT_EQ(last.top_k(), 5);
  EXPECT_EQ(last.temperature(), 1.0f);
  EXPECT_EQ(last.num_logprobs(), -1);
  EXPECT_EQ(std::vector<int32_t>(last.prompt().begin(), last.prompt().end()),
            (std::vector<int32_t>{256}));
  EXPECT_EQ(std::vector<int32_t>(last.stop_ids().begin(), last.stop_ids().end()),
            (std::vector<int32_t>{kEnd, 65}));
}

TEST(Session, IgnoringEosKeepsTheRequestsOwnStops) {
  auto wanted = request();
  wanted.mutable_stopping()->set_ignore_eos(true);
  wanted.mutable_stopping()->add_stop_token_ids(65);
  Fed fed(wanted);

  const v1::Submit submit = fed.session->submit(0);

  ASSERT_EQ(submit.stop_ids_size(), 1);
  EXPECT_EQ(submit.stop_ids(0), 65);
  EXPECT_FALSE(submit.ignore_stop_ids());
}

TEST(Session, TheModelsEndIsListedAndCountedButNotShown) {
  Fed fed(request());
  fed.feed({'o', 'k'}).value();

  fed.feed({kEnd}, /*finish=*/1, kEnd).value();

  EXPECT_EQ(fed.output().text, "ok");
  EXPECT_EQ(fed.output().ids, (std::vector<int32_t>{'o', 'k', kEnd}));
  ASSERT_EQ(fed.output().finished.size(), 1u);
  EXPECT_EQ(fed.output().finished[0].reason(), v1::FINISH_REASON_STOP);
  EXPECT_EQ(fed.output().finished[0].stop_token_id(), kEnd);
  EXPECT_EQ(fed.record.usage.completion_tokens(), 3);
  EXPECT_EQ(fed.record.usage.prompt_tokens(), 2);
  EXPECT_EQ(fed.record.usage.total_tokens(), 5);
  EXPECT_TRUE(fed.session->ended());
  EXPECT_TRUE(fed.cancels.empty());
}

TEST(Session, TheEndIsShownWhenAskedForEitherWay) {
  for (const bool special : {false, true}) {
    auto wanted = request();
    wanted.mutable_response()->set_include_special_tokens(special);
    wanted.mutable_stopping()->set_include_stop_in_output(!special);
    Fed fed(wanted);

    fed.feed({'o', 'k', kEnd}, /*finish=*/1, kEnd).value();

    EXPECT_EQ(fed.output().text, "ok<end>");
  }
}

TEST(Session, AStopTextAcrossTokensEndsAtTheLeaderAndDropsTheRest) {
  auto wanted = request();
  wanted.mutable_stopping()->add_stop_text("END");
  Fed fed(wanted);
  fed.feed({'a', 'E'}).value();
  fed.feed({'N'}).value();
  EXPECT_EQ(fed.output().text, "a");  // the beginning of a stop text is not certain

  fed.feed({'D', 'x'}).value();
  fed.feed({'y'}).value();
  fed.feed({}, /*finish=*/3).value();

  EXPECT_EQ(fed.output().text, "a");
  EXPECT_EQ(fed.output().ids, bytes_of("aEND"));
  ASSERT_EQ(fed.output().finished.size(), 1u);
  EXPECT_EQ(fed.output().finished[0].stop_text(), "END");
  EXPECT_EQ(fed.cancels, (std::vector<int64_t>{kFirst}));
  EXPECT_FALSE(fed.output().spoke_after_end);
}

TEST(Session, AStopTextBeforeMinTokensIsOrdinaryText) {
  auto wanted = request();
  wanted.mutable_stopping()->add_stop_text("..");
  wanted.mutable_stopping()->set_min_tokens(4);
  Fed fed(wanted);

  fed.feed(bytes_of("..a..b")).value();

  EXPECT_EQ(fed.output().text, "..a");
  EXPECT_EQ(fed.output().ids.size(), 5u);
}

TEST(Session, TextHeldBackComesWithTheEnd) {
  auto wanted = request();
  wanted.mutable_stopping()->add_stop_text("END");
  Fed fed(wanted);

  fed.feed({'x', 'E', 'N'}).value();
  fed.feed({0xc3}, /*finish=*/2).value();  // half a character

  EXPECT_EQ(fed.output().text, "xEN\xef\xbf\xbd");
  EXPECT_EQ(fed.output().finished[0].text(), "EN\xef\xbf\xbd");
  EXPECT_EQ(fed.output().finished[0].reason(), v1::FINISH_REASON_LENGTH);
}

TEST(Session, ACharacterIsNeverSplit) {
  Fed fed(request());

  fed.feed({0xe2}).value();
  fed.feed({0x82}).value();
  EXPECT_EQ(fed.output().text, "");
  fed.feed({0xac}).value();

  EXPECT_EQ(fed.output().text, "\xe2\x82\xac");
  EXPECT_EQ(fed.output().tokens[0].token(), "\xef\xbf\xbd");
}

TEST(Session, LogprobsCarryRankAndCandidatesWithTheirTexts) {
  auto wanted = request();
  wanted.mutable_response()->set_output_candidates(2);
  Fed fed(wanted);
  EXPECT_EQ(fed.session->submit(0).num_logprobs(), 2);
  v1::LeaderEvent event;
  event.set_sequence_id(kFirst);
  v1::Choice* choice = event.add_tokens();
  choice->set_id(256);
  choice->set_logprob(-0.5f);
  choice->set_rank(2);
  for (const int32_t id : {257, 256}) choice->add_top_ids(id);
  for (const float logprob : {-0.25f, -0.5f}) choice->add_top_logprobs(logprob);

  fed.feed(event).value();

  const v1::TokenInfo& token = fed.output().tokens[0];
  EXPECT_EQ(token.token(), "ab");
  EXPECT_EQ(token.logprob(), -0.5f);
  EXPECT_EQ(token.rank(), 2);
  ASSERT_EQ(token.candidates_size(), 2);
  EXPECT_EQ(token.candidates(0).token(), "abc");
  EXPECT_EQ(token.candidates(0).logprob(), -0.25f);
}

TEST(Session, AllCandidatesComeById) {
  auto limits = small_limits();
  limits.allow_logits = true;
  auto wanted = request();
  wanted.mutable_response()->set_all_candidates(true);
  Fed fed(wanted, limits);
  EXPECT_EQ(fed.session->submit(0).num_logprobs(), -2);
  v1::LeaderEvent event;
  event.set_sequence_id(kFirst);
  v1::Choice* choice = event.add_tokens();
  for (const int32_t id : {2, 0, 1}) choice->add_top_ids(id);
  for (const float logprob : {-1.0f, -2.0f, -3.0f}) choice->add_top_logprobs(logprob);

  fed.feed(event).value();

  const auto& all = fed.output().tokens[0].all();
  EXPECT_EQ(std::vector<float>(all.begin(), all.end()), (std::vector<float>{-2, -3, -1}));
}

v1::LeaderEvent prompt_scores(int32_t begin, int32_t count) {
  v1::LeaderEvent event;
  event.set_sequence_id(kFirst);
  event.set_prompt_begin(begin);
  for (int32_t i = 0; i < count; ++i)
    event.add_prompt_scores()->set_logprob(-static_cast<float>(begin + i));
  return event;
}

TEST(Session, ThePromptEventWaitsForItsScoresAndStaysFirst) {
  auto wanted = request("hello");
  wanted.mutable_response()->set_prompt_candidates(0);
  wanted.mutable_sampling()->set_num_sequences(2);
  Fed fed(wanted);
  EXPECT_EQ(fed.session->submit(0).num_prompt_logprobs(), 0);
  EXPECT_EQ(fed.session->submit(1).num_prompt_logprobs(), -1);

  fed.feed({'x'}, 0, 0, /*output=*/1).value();
  fed.feed(prompt_scores(1, 2)).value();
  fed.feed(prompt_scores(1, 1)).value();  // read again after a preemption
  EXPECT_EQ(fed.record.num_messages, 0);
  fed.feed(prompt_scores(2, 3)).value();

  ASSERT_EQ(fed.record.prompts.size(), 1u);
  EXPECT_FALSE(fed.record.prompt_late);
  const v1::PromptEvent& prompt = fed.record.prompts[0];
  ASSERT_EQ(prompt.tokens_size(), 5);
  EXPECT_FALSE(prompt.tokens(0).has_logprob());
  for (int i = 1; i < 5; ++i) {
    EXPECT_EQ(prompt.tokens(i).logprob(), -static_cast<float>(i));
    EXPECT_EQ(prompt.tokens(i).token_id(), "hello"[i]);
  }
  EXPECT_EQ(fed.output(1).text, "x");
}

TEST(Session, APromptThatIsNotScoredAsPromisedIsAnError) {
  auto wanted = request("hello");
  wanted.mutable_response()->set_prompt_candidates(0);

  Fed hole(wanted);
  EXPECT_EQ(hole.feed(prompt_scores(2, 3)).error().code, Code::kInternal);
  Fed past(wanted);
  EXPECT_EQ(past.feed(prompt_scores(1, 5)).error().code, Code::kInternal);
  Fed early(wanted);
  EXPECT_EQ(early.feed({'x'}).error().code, Code::kInternal);
}

TEST(Session, APromptOfIdsIsNotRepeated) {
  v1::GenerateRequest wanted;
  wanted.mutable_token_ids()->add_ids(5);

  Fed ids(wanted);
  ids.feed({'x'}).value();
  Fed text(request("abc"));
  text.feed({'x'}).value();

  EXPECT_EQ(ids.record.prompts.at(0).token_ids_size(), 0);
  EXPECT_EQ(ids.record.prompts.at(0).seed(), 7u);
  EXPECT_EQ(text.record.prompts.at(0).token_ids_size(), 1);
}

TEST(Session, CancelledOutputsGetTheirTextAndAnEnd) {
  auto wanted = request();
  wanted.mutable_sampling()->set_num_sequences(2);
  wanted.mutable_stopping()->add_stop_text("END");
  Fed fed(wanted);
  fed.feed({'a'}, /*finish=*/2).value();
  fed.feed({'E'}, 0, 0, /*output=*/1).value();
  EXPECT_EQ(fed.session->live_sequences(), (std::vector<int64_t>{kFirst + 1}));

  fed.cancel();

  EXPECT_EQ(fed.output(0).finished.size(), 1u);
  ASSERT_EQ(fed.output(1).finished.size(), 1u);
  EXPECT_EQ(fed.output(1).finished[0].reason(), v1::FINISH_REASON_CANCELLED);
  EXPECT_EQ(fed.output(1).text, "E");
  EXPECT_TRUE(fed.session->ended());
}

TEST(Session, TheLeadersErrorKeepsItsCode) {
  Fed fed(request());
  v1::LeaderEvent event;
  event.set_sequence_id(kFirst);
  event.set_finish(4);
  event.set_error_code(15);
  event.set_error_message("NaN in layer 3");

  const auto result = fed.feed(event);

  EXPECT_EQ(result.error().code, Code::kDataLoss);
  EXPECT_EQ(result.error().message, "NaN in layer 3");
}

TEST(Session, WhatTheLeaderMayNotSayIsAnErrorNotAnOk) {
  Fed without_code(request());
  EXPECT_EQ(without_code.feed({}, /*finish=*/4).error().code, Code::kInternal);
  Fed unknown_finish(request());
  EXPECT_EQ(unknown_finish.feed({}, /*finish=*/9).error().code, Code::kInternal);
  Fed unasked_cancel(request());
  EXPECT_EQ(unasked_cancel.feed({}, /*finish=*/3).error().code, Code::kCancelled);
}

}  // namespace
}  // namespace mimo::coordinator
