#include "coordinator/groups/group_manager.h"

#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>

#include "mimo/v1/cluster.grpc.pb.h"

namespace mimo::coordinator {
namespace {

using Stream = grpc::ClientReaderWriter<v1::WorkerMessage, v1::CoordinatorMessage>;

GroupManager::Options small_options() {
  GroupManager::Options options;
  options.model_folder = "/models/m";
  options.checkpoint_digest = 0xabc;
  options.engine.set_mode("f32");
  options.engine.set_page_tokens(64);
  options.heartbeat_interval_s = 0.05;
  options.heartbeat_timeout_s = 1.0;
  return options;
}

LeaderSink deaf_sink() {
  return {.on_events = [](const v1::LeaderEvents&) {},
          .on_lost = [](const Error&) {},
          .on_serving = [](int64_t) {}};
}

// A worker that says what a test tells it to.
class ScriptedWorker {
 public:
  explicit ScriptedWorker(const std::string& address)
      : stub_(v1::Registry::NewStub(
            grpc::CreateChannel(address, grpc::InsecureChannelCredentials()))) {
    context_.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    stream_ = stub_->Join(&context_);
  }
  void hello(const std::string& id) {
    v1::WorkerMessage message;
    message.mutable_hello()->set_worker_id(id);
    message.mutable_hello()->set_address("127.0.0.1:1");
    message.mutable_hello()->set_backend("cpu");
    send(message);
  }
  void send(const v1::WorkerMessage& message) { stream_->Write(message); }
  // The next message but heartbeats' acknowledgements; empty at the stream's end.
  v1::CoordinatorMessage next() {
    v1::CoordinatorMessage message;
    while (stream_->Read(&message)) {
      if (!message.has_heartbeat_ack()) return message;
    }
    return {};
  }
  grpc::Status finish() {
    v1::CoordinatorMessage message;
    while (stream_->Read(&message)) {
    }
    return stream_->Finish();
  }

 private:
  std::unique_ptr<v1::Registry::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<Stream> stream_;
};

TEST(GroupManager, AssignsWhatItWasConfiguredWith) {
  const auto manager = GroupManager::create(small_options(), deaf_sink()).value();
  ScriptedWorker worker(manager->cluster_address());

  worker.hello("a");

  const v1::CoordinatorMessage welcome = worker.next(), assign = worker.next();
  EXPECT_DOUBLE_EQ(welcome.welcome().heartbeat_timeout_s(), 1.0);
  ASSERT_TRUE(assign.has_assign());
  EXPECT_EQ(assign.assign().epoch(), 1);
  EXPECT_EQ(assign.assign().rank(), 0);
  EXPECT_EQ(assign.assign().size(), 1);
  EXPECT_EQ(assign.assign().model_folder(), "/models/m");
  EXPECT_EQ(assign.assign().checkpoint_digest(), 0xabcu);
  EXPECT_EQ(assign.assign().page_tokens(), 64);
  EXPECT_EQ(assign.assign().shard_key(), "0000000000000abc/tp1/experts-columns/f32");
}

TEST(GroupManager, RefusesASecondHello) {
  const auto manager = GroupManager::create(small_options(), deaf_sink()).value();
  ScriptedWorker worker(manager->cluster_address());
  worker.hello("a");

  worker.hello("a");

  EXPECT_EQ(worker.finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST(GroupManager, RefusesAWorkerThatDoesNotSayWhoItIs) {
  const auto manager = GroupManager::create(small_options(), deaf_sink()).value();
  ScriptedWorker rude(manager->cluster_address()), nameless(manager->cluster_address());
  v1::WorkerMessage message;
  message.mutable_ready()->set_epoch(1);

  rude.send(message);
  nameless.hello("");

  EXPECT_EQ(rude.finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(nameless.finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_TRUE(manager->status().workers.empty());
}

TEST(GroupManager, HangsUpOnAStreamWithoutHelloAndOnASilentWorker) {
  const auto manager = GroupManager::create(small_options(), deaf_sink()).value();
  ScriptedWorker mute(manager->cluster_address()), silent(manager->cluster_address());
  silent.hello("a");

  EXPECT_EQ(mute.finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  const grpc::Status status = silent.finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_NE(status.error_message().find("no heartbeat for 1.0 s"), std::string::npos);
}

TEST(GroupManager, ALeaderThatCannotBeDialledEndsTheEpoch) {
  auto options = small_options();
  options.heartbeat_timeout_s = 10;
  const auto manager = GroupManager::create(options, deaf_sink()).value();
  ScriptedWorker worker(manager->cluster_address());
  worker.hello("a");
  worker.next();
  worker.next();
  v1::WorkerMessage prepared, ready;
  prepared.mutable_prepared()->set_epoch(1);
  ready.mutable_ready()->set_epoch(1);
  worker.send(prepared);
  EXPECT_TRUE(worker.next().has_form());

  worker.send(ready);

  const v1::CoordinatorMessage end = worker.next();
  ASSERT_TRUE(end.has_end());
  EXPECT_EQ(end.end().epoch(), 1);
  EXPECT_NE(end.end().reason().find("the leader's stream"), std::string::npos);
}

TEST(GroupManager, SubmitsNothingWhileNoGroupServesAndSaysWhy) {
  const auto manager = GroupManager::create(small_options(), deaf_sink()).value();

  const Result<void> refused = manager->submit({});

  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Code::kUnavailable);
  EXPECT_NE(refused.error().message.find("0 of 1 workers have joined"), std::string::npos);
  manager->cancel(1);
}

TEST(GroupManager, RefusesAPortThatIsTakenAndBadOptions) {
  const auto manager = GroupManager::create(small_options(), deaf_sink()).value();
  auto taken = small_options(), eager = small_options(), nowhere = small_options();
  taken.cluster_listen = manager->cluster_address();
  eager.heartbeat_timeout_s = eager.heartbeat_interval_s;
  nowhere.cluster_listen = "here";

  EXPECT_EQ(GroupManager::create(taken, deaf_sink()).error().code, Code::kUnavailable);
  EXPECT_EQ(GroupManager::create(eager, deaf_sink()).error().code, Code::kInvalidArgument);
  EXPECT_EQ(GroupManager::create(nowhere, deaf_sink()).error().code, Code::kInvalidArgument);
}

TEST(GroupManager, ItsEndEndsTheStreams) {
  auto manager = GroupManager::create(small_options(), deaf_sink()).value();
  ScriptedWorker worker(manager->cluster_address());
  worker.hello("a");
  worker.next();

  manager.reset();

  EXPECT_FALSE(worker.finish().ok());
}

}  // namespace
}  // namespace mimo::coordinator
