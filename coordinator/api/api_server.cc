#include "coordinator/api/api_server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

#include "base/log.h"
#include "coordinator/api/chat_service.h"
#include "coordinator/api/inference_service.h"
#include "coordinator/sessions/work_pool.h"

namespace mimo::coordinator {
namespace {

constexpr int64_t kReaderQueueMax = 4096;
constexpr const char* kServiceNames[] = {"mimo.v1.Inference", "mimo.v1.Chat"};

int to_ms(double seconds) { return static_cast<int>(seconds * 1e3); }

void set_channel_arguments(const ApiServer::Options& options, grpc::ServerBuilder* builder) {
  builder->SetMaxReceiveMessageSize(static_cast<int>(options.message_bytes_max));
  builder->SetMaxSendMessageSize(static_cast<int>(options.message_bytes_max));
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, to_ms(options.keepalive_s));
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, to_ms(options.keepalive_timeout_s));
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                              to_ms(options.ping_interval_min_s));
  // Two servers on one port would share its connections without a word.
  builder->AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
}

// "127.0.0.1:0" and 1234 -> "127.0.0.1:1234".
std::string with_port(const std::string& listen, int port) {
  return listen.substr(0, listen.rfind(':') + 1) + std::to_string(port);
}

}  // namespace

struct ApiServer::Running {
  Running(const Options& options, ServerFacts facts, Sessions& all, Admission& admission,
          const Clock& clock, ChatDoors doors)
      : readers(options.reader_threads, kReaderQueueMax),
        chat(doors, facts.model, all, readers),
        service(std::move(facts), options.stall_s, all, admission, clock),
        sessions(all),
        interval(to_ms(options.health_interval_s)) {}

  void set_health(bool healthy) {
    auto* health = server->GetHealthCheckService();
    health->SetServingStatus(healthy);
    for (const char* name : kServiceNames) health->SetServingStatus(name, healthy);
  }

  void keep() {
    std::unique_lock lock(mutex);
    while (!stopping) {
      lock.unlock();
      const Readiness ready = service.readiness();
      sessions.reap();
      lock.lock();
      const bool healthy = ready.healthy() && !not_serving;
      if (healthy != was_healthy) {
        set_health(healthy);
        log_info(healthy ? "serving" : "not_serving", {{"reason", ready.reason}});
        was_healthy = healthy;
      }
      wake.wait_for(lock, interval, [&] { return stopping; });
    }
  }

  WorkPool readers;
  ChatService chat;
  InferenceService service;
  Sessions& sessions;
  std::unique_ptr<grpc::Server> server;
  const std::chrono::milliseconds interval;
  std::mutex mutex;  // guards the three flags; the keeper waits on it
  std::condition_variable wake;
  bool stopping = false;
  bool not_serving = false;
  bool was_healthy = false;
  std::thread keeper;
};

Result<std::unique_ptr<ApiServer>> ApiServer::create(const Options& options, ServerFacts facts,
                                                     Sessions& sessions, Admission& admission,
                                                     const Clock& clock, ChatDoors chat) {
  auto running =
      std::make_unique<Running>(options, std::move(facts), sessions, admission, clock, chat);
  grpc::EnableDefaultHealthCheckService(true);
  if (options.reflection) grpc::reflection::InitProtoReflectionServerBuilderPlugin();

  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(options.listen, grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&running->service);
  builder.RegisterService(&running->chat);
  set_channel_arguments(options, &builder);
  running->server = builder.BuildAndStart();
  if (running->server == nullptr || port == 0)
    return unavailable("api.listen = \"" + options.listen + "\": cannot listen there");
  running->set_health(false);
  running->keeper = std::thread([r = running.get()] { r->keep(); });
  return std::unique_ptr<ApiServer>(
      new ApiServer(std::move(running), with_port(options.listen, port)));
}

ApiServer::ApiServer(std::unique_ptr<Running> running, std::string address)
    : running_(std::move(running)), address_(std::move(address)) {}

ApiServer::~ApiServer() { stop(0.0); }

Readiness ApiServer::readiness() { return running_->service.readiness(); }

void ApiServer::set_not_serving() {
  std::lock_guard lock(running_->mutex);
  running_->not_serving = true;
  running_->was_healthy = false;
  running_->set_health(false);
}

void ApiServer::stop(double timeout_s) {
  {
    std::lock_guard lock(running_->mutex);
    running_->stopping = true;
  }
  running_->wake.notify_all();
  if (running_->keeper.joinable()) running_->keeper.join();
  running_->server->Shutdown(std::chrono::system_clock::now() +
                             std::chrono::milliseconds(to_ms(timeout_s)));
  running_->server->Wait();
  running_->readers.stop();
}

}  // namespace mimo::coordinator
