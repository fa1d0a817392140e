#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "coordinator/api/readiness.h"
#include "health.grpc.pb.h"
#include "tests/coordinator/api/front_door.h"

namespace mimo::coordinator {
namespace {

using grpc::health::v1::Health;
using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

// Watches one service's health.
class Watch {
 public:
  Watch(const std::string& address, const std::string& service)
      : stub_(Health::NewStub(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()))) {
    context_.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    HealthCheckRequest request;
    request.set_service(service);
    reader_ = stub_->Watch(&context_, request);
  }
  ~Watch() {
    context_.TryCancel();
    reader_->Finish();
  }
  // Reads on until it says `wanted`; false when the stream ends before.
  bool becomes(HealthCheckResponse::ServingStatus wanted) {
    HealthCheckResponse response;
    while (reader_->Read(&response))
      if (response.status() == wanted) return true;
    return false;
  }

 private:
  std::unique_ptr<Health::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<HealthCheckResponse>> reader_;
};

TEST(Health, ServesOnlyWhileAGroupDoesAndNobodyDrains) {
  for (const std::string service : {"", "mimo.v1.Inference", "mimo.v1.Chat"}) {
    auto options = FrontDoor::by_hand();
    options.connected = false;
    FrontDoor door(options);
    Watch watch(door.server->address(), service);
    ASSERT_TRUE(watch.becomes(HealthCheckResponse::NOT_SERVING));

    door.engine.connect(door.sessions.sink());
    ASSERT_TRUE(watch.becomes(HealthCheckResponse::SERVING));
    door.engine.lose(unavailable("gone"));
    ASSERT_TRUE(watch.becomes(HealthCheckResponse::NOT_SERVING));
    door.engine.serve();
    ASSERT_TRUE(watch.becomes(HealthCheckResponse::SERVING));
    door.server->set_not_serving();
    ASSERT_TRUE(watch.becomes(HealthCheckResponse::NOT_SERVING));
  }
}

TEST(Health, WorkWithoutProgressIsNotServing) {
  auto options = FrontDoor::by_hand();
  options.api.stall_s = 0.1;
  FrontDoor door(options);
  auto stub = door.stub();
  Watch watch(door.server->address(), "");
  ASSERT_TRUE(watch.becomes(HealthCheckResponse::SERVING));
  Call call(*stub, text_request("a", 5));
  ASSERT_TRUE(call.read());

  ASSERT_TRUE(watch.becomes(HealthCheckResponse::NOT_SERVING));

  door.engine.step(5);
  EXPECT_TRUE(watch.becomes(HealthCheckResponse::SERVING));
  EXPECT_TRUE(call.finish().ok());
}

TEST(Health, AnUnknownServiceIsNotFound) {
  FrontDoor door;
  auto stub = Health::NewStub(
      grpc::CreateChannel(door.server->address(), grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  HealthCheckRequest request;
  request.set_service("other");
  HealthCheckResponse response;

  EXPECT_EQ(stub->Check(&context, request, &response).error_code(), grpc::StatusCode::NOT_FOUND);
}

GroupStatus status_of(GroupState state, int64_t steps, int32_t running) {
  GroupStatus status;
  status.state = state;
  status.reason = state == GroupState::kServing ? "" : "waits";
  status.steps = steps;
  status.running = running;
  return status;
}

TEST(ReadinessTracker, NamesEachState) {
  ReadinessTracker tracker(/*stall_s=*/8);
  const auto state = [&](GroupState group, int64_t steps, int32_t running, bool draining,
                         double now_s) {
    return tracker.observe(status_of(group, steps, running), draining, now_s).state;
  };

  EXPECT_EQ(state(GroupState::kLoading, 0, 0, false, 0), v1::ServerInfo::STARTING);
  EXPECT_EQ(state(GroupState::kServing, 0, 0, false, 1), v1::ServerInfo::READY);
  EXPECT_EQ(state(GroupState::kServing, 0, 0, false, 100), v1::ServerInfo::READY);  // no work
  EXPECT_EQ(state(GroupState::kServing, 0, 3, false, 107), v1::ServerInfo::READY);
  EXPECT_EQ(state(GroupState::kServing, 0, 3, false, 108), v1::ServerInfo::DEGRADED);
  EXPECT_EQ(state(GroupState::kServing, 1, 3, false, 109), v1::ServerInfo::READY);
  EXPECT_EQ(state(GroupState::kWaiting, 1, 3, false, 110), v1::ServerInfo::NOT_READY);
  EXPECT_EQ(state(GroupState::kServing, 1, 3, true, 111), v1::ServerInfo::DRAINING);
}

TEST(Info, SaysWhatIsKnown) {
  FrontDoor door(FrontDoor::by_hand());
  auto stub = door.stub();
  Call running(*stub, text_request("hello", 10)), waiting(*stub, text_request("hey", 10));
  ASSERT_TRUE(running.read());
  door.engine.step(2);
  ASSERT_TRUE(waiting.read());
  grpc::ClientContext contexts[3];
  v1::ModelInfo model;
  v1::ServerInfo server;
  v1::LoadInfo load;

  ASSERT_TRUE(stub->GetModelInfo(&contexts[0], {}, &model).ok());
  ASSERT_TRUE(stub->GetServerInfo(&contexts[1], {}, &server).ok());
  ASSERT_TRUE(stub->GetLoad(&contexts[2], {}, &load).ok());

  EXPECT_EQ(model.model(), "small");
  EXPECT_EQ(server.state(), v1::ServerInfo::READY);
  EXPECT_EQ(server.role(), "both");
  EXPECT_EQ(server.backend(), "cpu");
  EXPECT_EQ(server.epoch(), 1);
  EXPECT_EQ(server.total_kv_pages(), 100);
  ASSERT_EQ(server.workers_size(), 1);
  EXPECT_EQ(server.workers(0).worker_id(), "w0");
  EXPECT_EQ(load.used_kv_pages(), 25);
  EXPECT_DOUBLE_EQ(load.kv_usage(), 0.25);
  EXPECT_EQ(load.running_requests(), 2);
  EXPECT_GE(load.running_tokens(), 5 + 2);
}

}  // namespace
}  // namespace mimo::coordinator
