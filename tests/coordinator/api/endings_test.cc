#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "tests/coordinator/api/front_door.h"

namespace mimo::coordinator {
namespace {

using std::chrono::seconds;

v1::AbortResponse abort(v1::Inference::Stub& stub, const std::string& request_id) {
  grpc::ClientContext context;
  v1::AbortRequest request;
  if (request_id.empty()) {
    request.set_all(true);
  } else {
    request.set_request_id(request_id);
  }
  v1::AbortResponse response;
  EXPECT_TRUE(stub.Abort(&context, request, &response).ok());
  return response;
}

TEST(Endings, AClientThatGoesAwayFreesItsSequencesWithoutAStep) {
  FrontDoor door(FrontDoor::by_hand());
  auto stub = door.stub();
  auto request = text_request("hello", 1000);
  request.mutable_sampling()->set_num_sequences(3);
  Call call(*stub, request);
  ASSERT_TRUE(call.read());
  door.engine.step(2);
  ASSERT_EQ(door.engine.num_live(), 3);

  call.cancel();

  EXPECT_TRUE(door.engine.wait_live(0));
  EXPECT_TRUE(door.admission.wait_empty(seconds(10)));
  EXPECT_EQ(call.finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST(Endings, TheClientsDeadlineEndsTheGeneration) {
  FrontDoor door(FrontDoor::by_hand());
  auto stub = door.stub();

  Call call(*stub, text_request("hello", 1000), std::chrono::milliseconds(200));

  EXPECT_EQ(call.finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_TRUE(door.engine.wait_live(0));
  EXPECT_TRUE(door.admission.wait_empty(seconds(10)));
}

TEST(Endings, ASlowReaderIsEndedAndItsSequenceFreed) {
  auto options = FrontDoor::options();
  options.sessions.limits.positions_max = 100'000'000;
  options.sessions.stream_bytes_max = 200'000;
  FrontDoor door(options);
  auto slow_stub = door.stub(/*read_window_bytes=*/65536);
  auto stub = door.stub();
  Call slow(*slow_stub, text_request("hello", 90'000'000));
  ASSERT_TRUE(slow.read());

  EXPECT_TRUE(door.engine.wait_live(0));  // nobody read: the bound was reached

  Call other(*stub, text_request("abc", 10));
  EXPECT_TRUE(other.finish().ok());
  EXPECT_EQ(slow.finish().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_NE(slow.finish().error_message().find("reader too slow"), std::string::npos);
  ASSERT_EQ(slow.record.errors.size(), 1u);
  EXPECT_FALSE(slow.record.errors[0].retryable());
  EXPECT_FALSE(slow.record.spoke_after_error);
  // What did arrive is the beginning of the output, nothing left out.
  const std::string& text = slow.record.outputs[0].text;
  for (size_t i = 0; i < text.size(); ++i) ASSERT_EQ(text[i], "hello"[i % 5]);
}

TEST(Endings, AReaderThatNeverReadsTheEndIsCut) {
  auto options = FrontDoor::options();
  options.sessions.limits.positions_max = 100'000'000;
  options.sessions.stream_bytes_max = 200'000;
  options.sessions.reader_grace_s = 0.05;
  FrontDoor door(options);
  auto slow_stub = door.stub(/*read_window_bytes=*/65536);
  Call slow(*slow_stub, text_request("hello", 90'000'000));
  ASSERT_TRUE(slow.read());

  EXPECT_TRUE(door.admission.wait_empty(seconds(10)));
  EXPECT_FALSE(slow.finish().ok());
}

TEST(Endings, AFullQueueRefusesAtOnceAndSaysWhenToComeBack) {
  auto options = FrontDoor::by_hand();
  options.admission.requests_max = 2;
  FrontDoor door(options);
  auto stub = door.stub();
  Call first(*stub, text_request("a", 5)), second(*stub, text_request("a", 5));
  ASSERT_TRUE(first.read());
  ASSERT_TRUE(second.read());

  Call third(*stub, text_request("a", 5));

  EXPECT_EQ(third.finish().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(third.record.num_messages, 0);  // a bare status: gRPC's own retry may act
  EXPECT_EQ(third.status_event().code(), v1::ERROR_CODE_OVERLOADED);
  EXPECT_TRUE(third.status_event().retryable());
  EXPECT_GT(third.retry_after_s(), 0);
  EXPECT_EQ(std::stoi(third.trailer("grpc-retry-pushback-ms")),
            static_cast<int>(third.retry_after_s() * 1000));
  door.engine.step(5);
  EXPECT_TRUE(first.finish().ok());
  EXPECT_TRUE(second.finish().ok());
}

TEST(Endings, AQueueThatFillsBetweenTwoOutputsTakesTheFirstBack) {
  auto options = FrontDoor::by_hand();
  options.engine.sequences_max = 3;
  FrontDoor door(options);
  auto stub = door.stub();
  auto request = text_request("a", 5);
  request.mutable_sampling()->set_num_sequences(4);

  Call call(*stub, request);

  EXPECT_EQ(call.finish().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_GT(call.retry_after_s(), 0);
  EXPECT_TRUE(door.engine.wait_live(0));
}

TEST(Endings, ALiveIdIsRefusedAndFreeAgainAfterwards) {
  FrontDoor door(FrontDoor::by_hand());
  auto stub = door.stub();
  auto request = text_request("a", 3);
  request.set_request_id("same");
  Call first(*stub, request);
  ASSERT_TRUE(first.read());

  Call twin(*stub, request);

  EXPECT_EQ(twin.finish().error_code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(twin.record.errors.at(0).code(), v1::ERROR_CODE_DUPLICATE_REQUEST);
  EXPECT_EQ(door.engine.num_live(), 1);
  door.engine.step(3);
  EXPECT_TRUE(first.finish().ok());
  Call again(*stub, request);
  ASSERT_TRUE(again.read());
  door.engine.step(3);
  EXPECT_TRUE(again.finish().ok());
}

TEST(Endings, AbortEndsTheStreamOnceAndIsIdempotent) {
  FrontDoor door(FrontDoor::by_hand());
  auto stub = door.stub();
  auto request = text_request("a", 1000);
  request.set_request_id("r");
  Call call(*stub, request);
  ASSERT_TRUE(call.read());
  door.engine.step(2);

  EXPECT_EQ(abort(*stub, "r").outcome(), v1::AbortResponse::ABORTED);
  EXPECT_EQ(abort(*stub, "r").outcome(), v1::AbortResponse::ALREADY_FINISHED);
  EXPECT_EQ(abort(*stub, "never").outcome(), v1::AbortResponse::ALREADY_FINISHED);

  EXPECT_EQ(call.finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_EQ(call.record.outputs[0].text, "aa");
  EXPECT_EQ(call.record.outputs[0].finished.at(0).reason(), v1::FINISH_REASON_CANCELLED);
  EXPECT_EQ(call.record.errors.at(0).code(), v1::ERROR_CODE_CANCELLED);
  EXPECT_EQ(door.engine.num_live(), 0);
}

TEST(Endings, AbortAllCountsThem) {
  FrontDoor door(FrontDoor::by_hand());
  auto stub = door.stub();
  Call first(*stub, text_request("a", 9)), second(*stub, text_request("a", 9));
  ASSERT_TRUE(first.read());
  ASSERT_TRUE(second.read());

  EXPECT_EQ(abort(*stub, "").num_aborted(), 2);

  EXPECT_EQ(first.finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_EQ(second.finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST(Endings, AbortOfNothingIsRefused) {
  FrontDoor door;
  auto stub = door.stub();
  grpc::ClientContext context;
  v1::AbortResponse response;

  const auto status = stub->Abort(&context, {}, &response);

  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST(Endings, ALostGroupEndsEveryStreamUnavailableAndTheNextServes) {
  FrontDoor door(FrontDoor::by_hand());
  auto stub = door.stub();
  Call first(*stub, text_request("a", 9)), second(*stub, text_request("b", 9));
  ASSERT_TRUE(first.read());
  ASSERT_TRUE(second.read());
  door.engine.step(3);

  door.engine.lose(unavailable("rank 1 is gone"));

  for (Call* call : {&first, &second}) {
    EXPECT_EQ(call->finish().error_code(), grpc::StatusCode::UNAVAILABLE);
    EXPECT_EQ(call->record.errors.at(0).code(), v1::ERROR_CODE_UNAVAILABLE);
    EXPECT_TRUE(call->record.errors.at(0).retryable());
    EXPECT_EQ(call->record.outputs[0].ids.size(), 3u);
  }
  Call between(*stub, text_request("a", 9));
  EXPECT_EQ(between.finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(between.finish().error_message(), "no group serves: 0 of 2 workers have joined");
  door.engine.serve();
  Call after(*stub, text_request("a", 2));
  ASSERT_TRUE(after.read());
  door.engine.step(2);
  EXPECT_TRUE(after.finish().ok());
}

TEST(Endings, TheGroupsErrorKeepsItsCodeAndEndsTheOtherOutputs) {
  FrontDoor door(FrontDoor::by_hand());
  auto stub = door.stub();
  auto request = text_request("a", 9);
  request.mutable_sampling()->set_num_sequences(2);
  Call call(*stub, request);
  ASSERT_TRUE(call.read());
  door.engine.fail(first_sequence_id(1), {Code::kDataLoss, "NaN"});

  door.engine.step();

  EXPECT_EQ(call.finish().error_code(), grpc::StatusCode::DATA_LOSS);
  EXPECT_EQ(call.record.errors.at(0).code(), v1::ERROR_CODE_INTERNAL);
  EXPECT_TRUE(door.engine.wait_live(0));
}

TEST(Endings, DrainingRefusesNewRequestsAndFinishesOldOnes) {
  FrontDoor door(FrontDoor::by_hand());
  auto stub = door.stub();
  Call old(*stub, text_request("a", 2));
  ASSERT_TRUE(old.read());

  door.admission.close();

  Call late(*stub, text_request("a", 2));
  EXPECT_EQ(late.finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(late.status_event().code(), v1::ERROR_CODE_DRAINING);
  door.engine.step(2);
  EXPECT_TRUE(old.finish().ok());
  EXPECT_TRUE(door.admission.wait_empty(seconds(10)));
}

TEST(Endings, StoppingEndsWhatStillRunsAndNeverWithOk) {
  FrontDoor door(FrontDoor::by_hand());
  auto stub = door.stub();
  Call call(*stub, text_request("a", 200));
  ASSERT_TRUE(call.read());
  door.engine.step(2);
  door.admission.close();

  door.sessions.stop(draining_error());

  EXPECT_EQ(call.finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(call.record.errors.at(0).code(), v1::ERROR_CODE_DRAINING);
  EXPECT_EQ(call.record.outputs[0].ids.size(), 2u);
}

}  // namespace
}  // namespace mimo::coordinator
