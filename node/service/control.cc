#include "node/service/control.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/check.h"
#include "base/log.h"

namespace mimo::node {
namespace {

// Two a link, two an epoch, one to leave; links and epochs follow one another.
constexpr int64_t kInboxMax = 256;
constexpr double kBackoffMinS = 0.1;
constexpr double kBackoffMaxS = 2;
// For the good-bye to be heard.
constexpr int64_t kLeaveNs = 1'000'000'000;
constexpr int64_t kNsPerS = 1'000'000'000;
// From the dial to the coordinator's first word; after it heartbeats have their own time-out.
constexpr int64_t kWelcomeNs = 10 * kNsPerS;
// From an epoch's abort to the end of its last step.
constexpr int64_t kUnwindNs = 60 * kNsPerS;

}  // namespace

Control::Control(Options options)
    : options_(std::move(options)),
      clock_(options_.context.clock),
      inbox_(std::make_shared<Inbox>(kInboxMax)),
      heartbeat_(options_.context.figures, clock_),
      backoff_s_(kBackoffMinS),
      random_(std::random_device{}()),
      thread_([this] { run(); }) {}

Control::~Control() {
  if (thread_.joinable()) thread_.join();
}

bool Control::stop(int64_t timeout_ms) {
  inbox_->try_push(Leave{});  // refused only when the thread has left already
  std::unique_lock lock(done_mutex_);
  return done_changed_.wait_for(lock, std::chrono::milliseconds(timeout_ms),
                                [this] { return done_; });
}

void Control::run() {
  while (true) {
    const int64_t now_ns = clock_.now_ns();
    if (said_good_bye_ && (link_ == nullptr || now_ns >= leave_by_ns_ + kLeaveNs)) break;
    // A stream that is cut ends at once.
    if (said_good_bye_ && now_ns >= leave_by_ns_) link_->cut();
    if (may_dial() && now_ns >= dial_at_ns_) dial();
    if (link_ != nullptr && welcome_by_ns_ != 0 && now_ns >= welcome_by_ns_) link_->cut();
    check_unwinding();
    std::optional<Input> input = inbox_->pop_for(std::chrono::nanoseconds(wait_ns()));
    if (input.has_value()) std::visit([this](auto& i) { on(i); }, *input);
  }
  heartbeat_.stop();
  inbox_->close();
  std::lock_guard lock(done_mutex_);
  done_ = true;
  done_changed_.notify_all();
}

int64_t Control::wait_ns() const {
  const int64_t now_ns = clock_.now_ns();
  int64_t until_ns = now_ns + kNsPerS;
  if (said_good_bye_) {
    until_ns = std::min(until_ns, now_ns < leave_by_ns_ ? leave_by_ns_ : leave_by_ns_ + kLeaveNs);
  }
  if (may_dial()) until_ns = std::min(until_ns, dial_at_ns_);
  return std::max<int64_t>(until_ns - now_ns, 0);
}

// A rank that does not come back from a step though its group is gone would hold its place in
// every later group. Loading is given all the time that it takes.
void Control::check_unwinding() {
  if (epoch_ == nullptr || !epoch_is_ready_ || unwinding_since_ns_ == 0) return;
  if (clock_.now_ns() - unwinding_since_ns_ < kUnwindNs) return;
  log_error("epoch_stuck", {{"epoch", epoch_->epoch()}, {"seconds", kUnwindNs / kNsPerS}});
  options_.on_stuck();
}

void Control::dial() {
  v1::WorkerHello hello = options_.hello;
  hello.set_last_epoch(last_epoch_);
  *hello.mutable_held() = held_shard();
  const int64_t id = ++link_id_;
  welcome_by_ns_ = clock_.now_ns() + kWelcomeNs;
  const auto post = [inbox = inbox_](Input input) {
    if (!inbox->try_push(std::move(input))) CHECK(inbox->closed());
  };
  link_ = JoinLink::dial(options_.context.config.coordinator, std::move(hello),
                         {.on_message =
                              [post, id](v1::CoordinatorMessage message) {
                                post(Said{id, std::move(message)});
                              },
                          .on_ended =
                              [post, id](const Error& error, std::shared_ptr<JoinLink> share) {
                                post(LinkEnded{id, error, std::move(share)});
                              }});
}

void Control::on(Said& input) {
  if (input.link != link_id_ || link_ == nullptr) return;
  heartbeat_.heard();
  v1::CoordinatorMessage& message = input.message;
  switch (message.message_case()) {
    case v1::CoordinatorMessage::kWelcome:
      backoff_s_ = kBackoffMinS;
      welcome_by_ns_ = 0;
      last_link_error_.clear();
      log_info("joined", {{"coordinator", options_.context.config.coordinator}});
      heartbeat_.start(link_, message.welcome().heartbeat_interval_s(),
                       message.welcome().heartbeat_timeout_s());
      break;
    case v1::CoordinatorMessage::kAssign:
      on_assign(std::move(*message.mutable_assign()));
      break;
    case v1::CoordinatorMessage::kForm:
      on_form(message.form());
      break;
    case v1::CoordinatorMessage::kEnd:
      on_end(message.end());
      break;
    case v1::CoordinatorMessage::kShutdown:
      log_info("told_to_exit", {});
      options_.on_shutdown();
      break;
    default:
      break;  // an acknowledged heartbeat, or something of a newer coordinator
  }
  link_->read_next();
}

void Control::on(LinkEnded& input) {
  if (input.link != link_id_) return;
  link_.reset();
  heartbeat_.stop();
  if (input.error.message != last_link_error_ && !said_good_bye_) {
    log_warning("coordinator_lost", {{"coordinator", options_.context.config.coordinator},
                                     {"reason", input.error.to_string()}});
    last_link_error_ = input.error.message;
  }
  next_assign_.reset();
  end_epoch(unavailable("the coordinator is lost: " + input.error.message));
  const double jitter = 0.5 + 0.5 * static_cast<double>(random_()) / decltype(random_)::max();
  dial_at_ns_ = clock_.now_ns() + static_cast<int64_t>(backoff_s_ * jitter * kNsPerS);
  backoff_s_ = std::min(2 * backoff_s_, kBackoffMaxS);
}

void Control::on_assign(v1::AssignRank assign) {
  last_epoch_ = std::max(last_epoch_, assign.epoch());
  if (leaving_) {
    send_ended(assign.epoch(), unavailable("the worker leaves"));
    return;
  }
  if (epoch_ == nullptr) {
    begin(std::move(assign));
    return;
  }
  // The old epoch is still on its way out.
  end_epoch(unavailable("the worker is assigned anew"));
  if (epoch_ == nullptr) {
    begin(std::move(assign));
  } else {
    next_assign_ = std::move(assign);
  }
}

void Control::begin(v1::AssignRank assign) {
  const int64_t epoch = assign.epoch();
  log_info("rank_assigned", {{"epoch", epoch}, {"rank", assign.rank()}, {"size", assign.size()}});
  epoch_shard_.set_shard_key(assign.shard_key());
  epoch_shard_.set_rank(assign.rank());
  RankEpoch::Handlers handlers;
  handlers.on_ready = [this](v1::RankReady message) {
    CHECK(inbox_->try_push(Ready{std::move(message)}));
  };
  handlers.on_ended = [this](const Error& why, std::unique_ptr<HeldModel> held) {
    CHECK(inbox_->try_push(EpochEnded{why, std::move(held)}));
  };
  auto prepared =
      RankEpoch::prepare(std::move(assign), options_.context, std::move(handlers), held_);
  if (!prepared.ok()) {
    send_ended(epoch, prepared.error());
    return;
  }
  epoch_ = std::move(prepared).value();
  epoch_is_ready_ = false;
  unwinding_since_ns_ = 0;
  epoch_link_ = link_id_;
  v1::WorkerMessage message;
  *message.mutable_prepared() = epoch_->prepared();
  link_->send(std::move(message));
}

void Control::on_form(const v1::FormGroup& form) {
  if (epoch_ == nullptr || epoch_->epoch() != form.epoch() || epoch_->formed()) return;
  epoch_->form(form, std::move(held_));
}

void Control::on_end(const v1::EndEpoch& end) {
  if (next_assign_.has_value() && next_assign_->epoch() == end.epoch()) {
    next_assign_.reset();
    send_ended(end.epoch(), {Code::kCancelled, end.reason()});
    return;
  }
  if (epoch_ == nullptr || epoch_->epoch() != end.epoch()) return;
  end_epoch({Code::kCancelled, end.reason()});
}

// A formed epoch ends on its own thread, which says so.
void Control::end_epoch(const Error& why) {
  if (epoch_ == nullptr) return;
  if (epoch_->formed()) {
    epoch_->abort(why);
    if (unwinding_since_ns_ == 0) unwinding_since_ns_ = clock_.now_ns();
    return;
  }
  const int64_t epoch = epoch_->epoch();
  const bool same_link = epoch_link_ == link_id_;
  epoch_.reset();
  if (same_link) send_ended(epoch, why);
}

void Control::on(Ready& input) {
  epoch_is_ready_ = true;
  log_info("rank_ready", {{"epoch", input.message.epoch()},
                          {"kept_weights", input.message.kept_weights()},
                          {"load_seconds", input.message.load_seconds()}});
  if (link_ == nullptr || epoch_link_ != link_id_) return;
  v1::WorkerMessage message;
  *message.mutable_ready() = std::move(input.message);
  link_->send(std::move(message));
}

void Control::on(EpochEnded& input) {
  CHECK(epoch_ != nullptr);
  const int64_t epoch = epoch_->epoch();
  held_ = std::move(input.held);
  epoch_.reset();  // its thread has said its last word
  log_info("epoch_ended", {{"epoch", epoch}, {"reason", input.why.to_string()}});
  if (epoch_link_ == link_id_) send_ended(epoch, input.why);
  if (leaving_) {
    say_good_bye();
  } else if (next_assign_.has_value()) {
    begin(*std::exchange(next_assign_, std::nullopt));
  }
}

void Control::on(Leave&) {
  if (std::exchange(leaving_, true)) return;
  log_info("leaves", {});
  end_epoch(unavailable("the worker leaves"));
  if (epoch_ == nullptr) say_good_bye();
}

void Control::say_good_bye() {
  if (link_ != nullptr) link_->finish();
  said_good_bye_ = true;
  leave_by_ns_ = clock_.now_ns() + kLeaveNs;
}

void Control::send_ended(int64_t epoch, const Error& why) {
  if (link_ == nullptr) return;
  v1::WorkerMessage message;
  v1::RankEnded& ended = *message.mutable_ended();
  ended.set_epoch(epoch);
  ended.set_code(static_cast<int32_t>(why.code));
  ended.set_message(why.message);
  *ended.mutable_held() = held_shard();
  link_->send(std::move(message));
}

v1::HeldShard Control::held_shard() const {
  if (epoch_ != nullptr && epoch_->formed()) return epoch_shard_;
  v1::HeldShard shard;
  if (held_ == nullptr) return shard;
  shard.set_shard_key(held_->shard_key);
  shard.set_rank(held_->shard_rank);
  return shard;
}

}  // namespace mimo::node
