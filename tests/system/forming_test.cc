#include <grpcpp/create_channel.h>

#include <iostream>

#include "mimo/v1/cluster.grpc.pb.h"
#include "parallel/ucx_endpoint.h"
#include "tests/system/cluster.h"

namespace mimo::testing {
namespace {

// A worker that takes a rank, prepares, and never connects.
class Ghost {
 public:
  explicit Ghost(const std::string& coordinator)
      : stub_(v1::Registry::NewStub(
            grpc::CreateChannel(coordinator, grpc::InsecureChannelCredentials()))),
        endpoint_(parallel::UcxEndpoint::open({.bind_host = "127.0.0.1"}).value()) {
    context_.set_deadline(std::chrono::system_clock::now() + seconds(20));
    stream_ = stub_->Join(&context_);
    v1::WorkerMessage hello;
    hello.mutable_hello()->set_worker_id("ghost");
    hello.mutable_hello()->set_backend("cpu");
    hello.mutable_hello()->set_address("127.0.0.1:1");
    stream_->Write(hello);
  }
  // True once the group has been told to form.
  bool prepare() {
    v1::CoordinatorMessage message;
    while (stream_->Read(&message)) {
      if (message.has_form()) return true;
      if (!message.has_assign()) continue;
      v1::WorkerMessage prepared;
      prepared.mutable_prepared()->set_epoch(message.assign().epoch());
      prepared.mutable_prepared()->set_group_address(endpoint_->address());
      prepared.mutable_prepared()->set_plan_address("127.0.0.1:1");
      stream_->Write(prepared);
    }
    return false;
  }
  void vanish() {
    context_.TryCancel();
    stream_->Finish();
  }

 private:
  std::unique_ptr<v1::Registry::Stub> stub_;
  std::unique_ptr<parallel::UcxEndpoint> endpoint_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::WorkerMessage, v1::CoordinatorMessage>> stream_;
};

class Forming : public ClusterTest {};

TEST_F(Forming, ARankThatVanishesWhileTheGroupFormsHoldsNobodyUp) {
  start_manager({});
  start_worker("a");
  Ghost ghost(address_);
  ASSERT_TRUE(ghost.prepare());

  const auto vanished = std::chrono::steady_clock::now();
  ghost.vanish();
  start_worker("b");

  // The ranks' own time-out would be 10 s.
  ASSERT_TRUE(log_.wait_serving(1, seconds(8))) << manager_->status().reason;
  std::cout << "[   TIME   ] from a rank's loss while forming to serving: "
            << std::chrono::duration_cast<milliseconds>(std::chrono::steady_clock::now() - vanished)
                   .count()
            << " ms\n";
  expect_right_answer(1);
}

}  // namespace
}  // namespace mimo::testing
