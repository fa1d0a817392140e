#include "coordinator/groups/manager_impl.h"

#include <grpcpp/server_builder.h>

#include <chrono>
#include <utility>

#include "base/log.h"

namespace mimo::coordinator {
namespace {

constexpr int32_t kStreamsMax = 1024;
// Three inputs a stream (connected, said, gone), and the leader's and the user's few.
constexpr int64_t kInboxMax = 3 * kStreamsMax + 64;
constexpr auto kTick = std::chrono::milliseconds(50);
constexpr int64_t kCloseTimeoutMs = 2000;
constexpr int kKeepAliveMs = 20'000;

int64_t ns(double seconds) { return static_cast<int64_t>(seconds * 1e9); }

std::string shard_key(const GroupManager::Options& options) {
  const bool whole = options.shard.experts == parallel::ExpertPlacement::kWhole;
  char digest[20];
  std::snprintf(digest, sizeof digest, "%016llx",
                static_cast<unsigned long long>(options.checkpoint_digest));
  return std::string(digest) + "/tp" + std::to_string(options.shard.tp) + "/experts-" +
         (whole ? "whole" : "columns") + "/" + options.engine.mode();
}

GroupLife::Options life_options(const GroupManager::Options& options) {
  return {.size = options.shard.tp,
          .shard_key = shard_key(options),
          .heartbeat_timeout_ns = ns(options.heartbeat_timeout_s),
          .form_timeout_ns = ns(options.form_timeout_s),
          .load_timeout_ns = ns(options.load_timeout_s)};
}

}  // namespace

Result<std::unique_ptr<GroupManager>> GroupManager::create(Options options, LeaderSink sink) {
  const auto positive = [](const char* name, double value) -> Result<void> {
    if (value > 0) return {};
    return invalid_argument(std::string(name) + " " + std::to_string(value) +
                            "; expected more than 0");
  };
  TRY(positive("heartbeat_interval_s", options.heartbeat_interval_s));
  TRY(positive("heartbeat_timeout_s", options.heartbeat_timeout_s));
  TRY(positive("form_timeout_s", options.form_timeout_s));
  TRY(positive("load_timeout_s", options.load_timeout_s));
  TRY(positive("shard.tp", options.shard.tp));
  if (options.heartbeat_timeout_s <= options.heartbeat_interval_s) {
    return invalid_argument("heartbeat_timeout_s " + std::to_string(options.heartbeat_timeout_s) +
                            "; expected more than heartbeat_interval_s " +
                            std::to_string(options.heartbeat_interval_s));
  }
  auto manager = std::make_unique<ManagerImpl>(std::move(options), std::move(sink));
  TRY(manager->start());
  return std::unique_ptr<GroupManager>(std::move(manager));
}

ManagerImpl::ManagerImpl(Options options, LeaderSink sink)
    : options_(std::move(options)),
      shard_key_(shard_key(options_)),
      gate_(std::make_shared<SinkGate>(std::move(sink))),
      inbox_(std::make_shared<Inbox>(kInboxMax)),
      service_(
          kStreamsMax,
          {.on_connected = [inbox = inbox_](StreamId s) { CHECK(inbox->try_push(Connected{s})); },
           .on_message =
               [inbox = inbox_](StreamId s, v1::WorkerMessage m) {
                 CHECK(inbox->try_push(Said{s, std::move(m)}));
               },
           .on_gone =
               [inbox = inbox_](StreamId s, Error e) {
                 CHECK(inbox->try_push(Gone{s, e}));
               }}),
      life_(life_options(options_)) {}

Result<void> ManagerImpl::start() {
  const size_t colon = options_.cluster_listen.rfind(':');
  if (colon == std::string::npos) {
    return invalid_argument("cluster_listen \"" + options_.cluster_listen +
                            "\"; expected host:port");
  }
  int port = 0;
  grpc::ServerBuilder builder;
  // Two coordinators on one port would share the workers between them.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  // The streams of a machine that is gone end too.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepAliveMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepAliveMs);
  builder.AddListeningPort(options_.cluster_listen, grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service_);
  server_ = builder.BuildAndStart();
  if (server_ == nullptr || port == 0) {
    return unavailable("cannot listen on " + options_.cluster_listen);
  }
  address_ = options_.cluster_listen.substr(0, colon + 1) + std::to_string(port);
  log_info("cluster_listens", {{"address", address_}, {"size", options_.shard.tp}});
  publish();
  owner_ = std::thread([this] { run(); });
  return {};
}

// Workers first: with them the epoch ends, and nothing of them is posted any more.
ManagerImpl::~ManagerImpl() {
  if (server_ != nullptr) {
    if (!service_.close(kCloseTimeoutMs)) log_warning("cluster_streams_cut", {});
    server_->Shutdown(std::chrono::system_clock::now() +
                      std::chrono::milliseconds(kCloseTimeoutMs));
    server_->Wait();
    service_.close(kCloseTimeoutMs);  // the last stream's last word
  }
  if (!owner_.joinable()) return;
  CHECK(inbox_->try_push(Stop{}));
  owner_.join();
}

Result<void> ManagerImpl::submit(v1::Submit submit) {
  std::shared_ptr<LeaderLink> link;
  {
    std::lock_guard lock(shared_mutex_);
    link = serving_;
    if (link == nullptr) return unavailable("no group serves: " + status_.reason);
  }
  return link->submit(std::move(submit));
}

void ManagerImpl::cancel(int64_t sequence_id) {
  std::shared_ptr<LeaderLink> link;
  {
    std::lock_guard lock(shared_mutex_);
    link = serving_;
  }
  if (link != nullptr) link->cancel(sequence_id);
}

GroupStatus ManagerImpl::status() const {
  std::lock_guard lock(shared_mutex_);
  return status_;
}

void ManagerImpl::shutdown_workers() {
  if (!inbox_->try_push(life::ShutDown{})) log_warning("shutdown_dropped", {});
}

void ManagerImpl::run() {
  int64_t next_tick_ns = 0;
  while (true) {
    std::optional<Input> input = inbox_->pop_for(kTick);
    if (input.has_value()) std::visit([this](auto& i) { on(i); }, *input);
    const int64_t now_ns = clock_.now_ns();
    if (stopping_ && (num_links_ == 0 || now_ns >= stop_by_ns_)) break;
    if (now_ns >= next_tick_ns) {
      next_tick_ns = now_ns + std::chrono::nanoseconds(kTick).count();
      drop_silent_peers();
      feed(life::Tick{});
    }
    publish();
  }
  inbox_->close();
}

void ManagerImpl::on(const Stop&) {
  stopping_ = true;
  stop_by_ns_ = clock_.now_ns() + kCloseTimeoutMs * 1'000'000;
  feed(life::ShutDown{});
}

void ManagerImpl::on(LinkDone& input) {
  --num_links_;
  feed(input.lost);
}

void ManagerImpl::on(const Connected& input) {
  peers_[input.stream].since_ns = clock_.now_ns();
  service_.read_next(input.stream);
}

void ManagerImpl::on(Said& input) {
  const auto peer = peers_.find(input.stream);
  if (peer == peers_.end()) return;  // hung up on
  if (input.message.has_hello() != !peer->second.greeted) {
    const Error error =
        invalid_argument(peer->second.greeted ? "a second hello on one stream"
                                              : "the first message was not a hello");
    peers_.erase(peer);
    feed(life::Left{input.stream, error});
    service_.hang_up(input.stream, error);
    return;
  }
  if (input.message.has_hello()) {
    on_hello(input.stream, peer->second, input.message.hello());
  } else {
    on_message(input.stream, peer->second, input.message);
  }
  service_.read_next(input.stream);
}

void ManagerImpl::on(const Gone& input) {
  peers_.erase(input.stream);
  service_.release();
  feed(life::Left{input.stream, input.error});
}

void ManagerImpl::on_hello(StreamId stream, Peer& peer, const v1::WorkerHello& hello) {
  peer.greeted = true;
  peer.hello = hello;
  v1::CoordinatorMessage message;
  message.mutable_welcome()->set_heartbeat_interval_s(options_.heartbeat_interval_s);
  message.mutable_welcome()->set_heartbeat_timeout_s(options_.heartbeat_timeout_s);
  service_.send(stream, std::move(message));
  feed(life::Joined{stream,
                    {.worker_id = hello.worker_id(),
                     .address = hello.address(),
                     .backend = hello.backend(),
                     .last_epoch = hello.last_epoch(),
                     .held_key = hello.held().shard_key(),
                     .held_rank = hello.held().shard_key().empty() ? -1 : hello.held().rank()}});
}

void ManagerImpl::on_message(StreamId stream, Peer& peer, const v1::WorkerMessage& message) {
  switch (message.message_case()) {
    case v1::WorkerMessage::kPrepared: {
      const v1::RankPrepared& m = message.prepared();
      feed(life::Prepared{stream, m.epoch(), m.group_address(), m.plan_address(), m.kv_bytes()});
      return;
    }
    case v1::WorkerMessage::kReady: {
      const v1::RankReady& m = message.ready();
      feed(life::Ready{stream,
                       m.epoch(),
                       m.kept_weights(),
                       {m.full_pages(), m.window_pages(), m.sequences_max()}});
      return;
    }
    case v1::WorkerMessage::kEnded: {
      const v1::RankEnded& m = message.ended();
      peer.heartbeat.Clear();
      feed(life::Ended{stream,
                       m.epoch(),
                       {static_cast<Code>(m.code()), m.message()},
                       m.held().shard_key(),
                       m.held().shard_key().empty() ? -1 : m.held().rank()});
      return;
    }
    case v1::WorkerMessage::kHeartbeat: {
      peer.heartbeat = message.heartbeat();
      v1::CoordinatorMessage ack;
      ack.mutable_heartbeat_ack();
      service_.send(stream, std::move(ack));
      feed(life::Heard{stream});
      return;
    }
    default:
      feed(life::Heard{stream});  // of a newer version: alive, and nothing we know
  }
}

void ManagerImpl::drop_silent_peers() {
  const int64_t now_ns = clock_.now_ns();
  for (auto peer = peers_.begin(); peer != peers_.end();) {
    const bool late =
        !peer->second.greeted && now_ns - peer->second.since_ns > ns(options_.heartbeat_timeout_s);
    if (late) service_.hang_up(peer->first, {Code::kDeadlineExceeded, "no hello"});
    peer = late ? peers_.erase(peer) : std::next(peer);
  }
}

}  // namespace mimo::coordinator
