#include "node/service/worker.h"

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <utility>

#include "base/log.h"
#include "node/service/control.h"
#include "node/service/leader_service.h"

namespace mimo::node {
namespace {

constexpr int64_t kServerStopMs = 1000;

class Process final : public Worker {
 public:
  Process(WorkerConfig config, std::unique_ptr<Backend> backend, std::unique_ptr<WorkerProbe> probe)
      : config_(std::move(config)),
        backend_(std::move(backend)),
        probe_(std::move(probe)),
        service_(desk_) {}

  ~Process() override {
    if (control_ != nullptr) control_->stop(INT32_MAX);
    control_.reset();
    if (server_ == nullptr) return;
    server_->Shutdown(std::chrono::system_clock::now() + std::chrono::milliseconds(kServerStopMs));
    server_->Wait();
  }

  Result<void> start(std::function<void()> on_shutdown, std::function<void()> on_stuck) {
    int port = 0;
    grpc::ServerBuilder builder;
    // A port that another process has is an error, not a share of its calls.
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    builder.SetMaxReceiveMessageSize(-1);
    builder.AddListeningPort(config_.listen, grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    if (server_ == nullptr || port == 0) return unavailable("cannot listen on " + config_.listen);
    address_ = to_string(HostPort{config_.host(), static_cast<uint16_t>(port)});

    std::array<char, 256> host{};
    gethostname(host.data(), host.size() - 1);
    v1::WorkerHello hello;
    hello.set_worker_id(config_.worker_id);
    hello.set_address(address_);
    hello.set_metrics_address(probe_->address());
    hello.set_backend(config_.backend);
    hello.set_pid(getpid());
    hello.set_host(host.data());
    hello.set_version(MIMO_VERSION);
    log_info(
        "worker_listens",
        {{"worker", config_.worker_id}, {"address", address_}, {"metrics", probe_->address()}});
    control_ = std::make_unique<Control>(Control::Options{.context = {.config = config_,
                                                                      .backend = *backend_,
                                                                      .bind_host = config_.host(),
                                                                      .desk = desk_,
                                                                      .probe = *probe_,
                                                                      .figures = figures_,
                                                                      .clock = clock_},
                                                          .hello = std::move(hello),
                                                          .on_shutdown = std::move(on_shutdown),
                                                          .on_stuck = std::move(on_stuck)});
    return {};
  }

  std::string address() const override { return address_; }
  std::string metrics_address() const override { return probe_->address(); }
  bool stop(int64_t timeout_ms) override { return control_->stop(timeout_ms); }

 private:
  const WorkerConfig config_;
  const std::unique_ptr<Backend> backend_;
  const SystemClock clock_;
  LiveFigures figures_;
  std::unique_ptr<WorkerProbe> probe_;
  LeaderDesk desk_;
  LeaderService service_;
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
  std::unique_ptr<Control> control_;
};

}  // namespace

Result<std::unique_ptr<Worker>> Worker::create(WorkerConfig config,
                                               std::function<void()> on_shutdown,
                                               std::function<void()> on_stuck) {
  TRY(config.validate());
  TRY_ASSIGN(auto backend, Backend::open(config));
  TRY_ASSIGN(auto probe, WorkerProbe::create(config.metrics));
  auto worker = std::make_unique<Process>(std::move(config), std::move(backend), std::move(probe));
  TRY(worker->start(std::move(on_shutdown), std::move(on_stuck)));
  return std::unique_ptr<Worker>(std::move(worker));
}

}  // namespace mimo::node
