#include "node/service/rank_epoch.h"

#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "node/service/metered_runner.h"
#include "parallel/single_group.h"

namespace mimo::node {
namespace {

constexpr auto kFull = static_cast<size_t>(kvcache::KvKind::kFull);
constexpr auto kWindow = static_cast<size_t>(kvcache::KvKind::kWindow);

Result<void> check_assignment(const v1::AssignRank& assign) {
  if (assign.size() < 1 || assign.tp() != assign.size() || assign.rank() < 0 ||
      assign.rank() >= assign.size()) {
    return invalid_argument("rank " + std::to_string(assign.rank()) + ", size " +
                            std::to_string(assign.size()) + ", tp " + std::to_string(assign.tp()) +
                            "; expected tp = size and 0 <= rank < size");
  }
  if (!(assign.step_timeout_s() > 0)) {
    return invalid_argument("step_timeout_s " + std::to_string(assign.step_timeout_s()) +
                            "; expected more than 0");
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<RankEpoch>> RankEpoch::prepare(v1::AssignRank assign, const Context& context,
                                                      Handlers handlers,
                                                      std::unique_ptr<HeldModel>& held) {
  TRY(check_assignment(assign));
  std::unique_ptr<RankEpoch> epoch(new RankEpoch(std::move(assign), context, std::move(handlers)));
  const v1::AssignRank& order = epoch->assign_;
  TRY_ASSIGN(epoch->checkpoint_, open_checkpoint(order));
  if (order.kv_bytes() == 0) {
    TRY_ASSIGN(epoch->kv_bytes_,
               find_kv_bytes(*epoch->checkpoint_, order, context.config, context.backend, held));
  }
  TRY_ASSIGN(epoch->endpoint_,
             context.backend.open_endpoint(order.rank(), order.size(), context.bind_host));
  if (epoch->endpoint_ != nullptr) epoch->abort_forming_ = epoch->endpoint_->aborter();
  if (epoch->leads() && order.size() > 1) {
    TRY_ASSIGN(epoch->listener_, parallel::TcpPlanListener::open(context.bind_host, 0));
  }
  return epoch;
}

RankEpoch::RankEpoch(v1::AssignRank assign, const Context& context, Handlers handlers)
    : assign_(std::move(assign)), context_(context), handlers_(std::move(handlers)) {}

RankEpoch::~RankEpoch() {
  abort(unavailable("the worker drops the epoch"));
  if (thread_.joinable()) thread_.join();
}

v1::RankPrepared RankEpoch::prepared() const {
  v1::RankPrepared message;
  message.set_epoch(epoch());
  message.set_kv_bytes(kv_bytes_);
  if (endpoint_ != nullptr) message.set_group_address(endpoint_->address());
  if (listener_ != nullptr) message.set_plan_address(listener_->address());
  return message;
}

void RankEpoch::form(v1::FormGroup form, std::unique_ptr<HeldModel> held) {
  CHECK(!thread_.joinable());
  thread_ = std::thread([this, form = std::move(form), held = std::move(held)]() mutable {
    run(form, std::move(held));
  });
}

void RankEpoch::abort(const Error& why) {
  {
    std::lock_guard lock(mutex_);
    if (!why_.has_value()) why_ = why;
    if (group_ != nullptr) group_->abort();
    if (plan_leader_ != nullptr) plan_leader_->abort();
    if (plan_follower_ != nullptr) plan_follower_->abort();
  }
  if (abort_forming_) abort_forming_();
  if (listener_ != nullptr) listener_->abort();
  ended_.notify_all();
}

void RankEpoch::run(const v1::FormGroup& form, std::unique_ptr<HeldModel> held) {
  const auto serve = [&]() -> Result<void> {
    TRY(connect(form));
    TRY(load(form, held));
    return run_or_wait(*held);
  };
  const Result<void> served = serve();
  // The first reason is the one that counts: what comes after an abort is its echo.
  abort(served.ok() ? unavailable("the epoch is over") : served.error());
  Error why = wait_for_end();
  // The group goes next: nothing that it queued runs, or is recorded, any more.
  if (held != nullptr) settle(*held);
  context_.figures.epoch = 0;
  handlers_.on_ended(why, std::move(held));
}

Result<void> RankEpoch::connect(const v1::FormGroup& form) {
  if (endpoint_ == nullptr) {
    std::lock_guard lock(mutex_);
    group_ = parallel::make_single_group();
    return {};
  }
  if (form.group_addresses_size() != assign_.size()) {
    return invalid_argument(std::to_string(form.group_addresses_size()) +
                            " group addresses; expected " + std::to_string(assign_.size()));
  }
  std::vector<std::string> addresses(form.group_addresses().begin(), form.group_addresses().end());
  TRY_ASSIGN(auto group, endpoint_->form(assign_.rank(), addresses, Epoch{epoch()}, timeout_ms()));
  {
    std::lock_guard lock(mutex_);
    group_ = std::move(group);
  }
  TRY(check_wanted());
  if (assign_.size() == 1) return {};
  TRY(connect_plans(form.plan_address()));
  return check_wanted();
}

Result<void> RankEpoch::connect_plans(const std::string& plan_address) {
  if (leads()) {
    TRY_ASSIGN(auto leader,
               listener_->accept_followers(assign_.size(), Epoch{epoch()}, timeout_ms()));
    std::lock_guard lock(mutex_);
    plan_leader_ = std::move(leader);
    return {};
  }
  TRY_ASSIGN(auto follower, parallel::connect_plan_follower(plan_address, assign_.rank(),
                                                            Epoch{epoch()}, timeout_ms()));
  std::lock_guard lock(mutex_);
  plan_follower_ = std::move(follower);
  return {};
}

Result<void> RankEpoch::load(const v1::FormGroup& form, std::unique_ptr<HeldModel>& held) {
  const double begin_s = context_.clock.now_s();
  const int64_t kv_bytes = assign_.kv_bytes() > 0 ? assign_.kv_bytes() : form.kv_bytes();
  kept_weights_ = held != nullptr && fits(*held, assign_) && held->kv_bytes == kv_bytes;
  if (!kept_weights_) {
    held.reset();  // its memory goes before other weights come
    TRY_ASSIGN(held,
               load_model(*checkpoint_, assign_, kv_bytes, context_.config, context_.backend));
  }
  checkpoint_.reset();
  const Epoch epoch{assign_.epoch()};
  if (held->rank == nullptr) {
    TRY_ASSIGN(held->rank, Rank::create(*held->model, *group_,
                                        {.epoch = epoch,
                                         .vocab_limit = assign_.vocab_limit(),
                                         .rules = held->rules.get()}));
  } else {
    TRY(held->rank->reset(epoch, *group_));
  }
  load_seconds_ = context_.clock.now_s() - begin_s;
  const auto& pages = held->model->options().num_pages;
  context_.figures.begin(assign_.epoch(), pages[kFull], pages[kWindow]);
  return check_wanted();
}

Result<void> RankEpoch::run_or_wait(HeldModel& held) {
  context_.probe.begin_epoch(assign_.rank(), held.rank->memory());
  return leads() ? lead(held) : follow(held);
}

Result<void> RankEpoch::lead(HeldModel& held) {
  const Epoch epoch{assign_.epoch()};
  MeteredRunner runner(*held.rank, context_.figures, context_.probe, context_.clock);
  GroupExecutor executor({.report_timeout_ms = timeout_ms()}, runner, plan_leader_.get());
  const Engine::Options options = engine_options(held);
  context_.probe.begin_leading(options);
  Engine::Hooks hooks;
  hooks.on_events = [this](std::vector<SequenceEvent> events) {
    context_.desk.on_events(std::move(events));
  };
  hooks.on_step = [this](const EngineStats& stats) {
    context_.desk.on_step(stats.step);
    context_.probe.engine_step(stats);
    LiveFigures& figures = context_.figures;
    figures.running = stats.num_running;
    figures.waiting = stats.num_waiting;
    figures.full_pages_free = stats.pages[kFull].free;
    figures.window_pages_free = stats.pages[kWindow].free;
  };
  hooks.on_failure = [this](const Error& error) { abort(error); };
  TRY_ASSIGN(const auto engine,
             Engine::create(options, std::move(hooks), executor, context_.clock));
  context_.desk.offer(epoch, *engine, held.rules);
  handlers_.on_ready(ready(held));
  const Error why = wait_for_end();
  context_.desk.withdraw(epoch, why);
  engine->stop();
  context_.probe.end_leading();
  return why;
}

Result<void> RankEpoch::follow(HeldModel& held) {
  handlers_.on_ready(ready(held));
  MeteredRunner runner(*held.rank, context_.figures, context_.probe, context_.clock);
  return node::follow(Epoch{assign_.epoch()}, *plan_follower_, runner, [this] {
    std::lock_guard lock(mutex_);
    return why_.has_value();
  });
}

Engine::Options RankEpoch::engine_options(const HeldModel& held) const {
  const Model& model = *held.model;
  Engine::Options options;
  options.epoch = Epoch{assign_.epoch()};
  options.sequences_max = assign_.sequences_max();
  options.waiting_max = assign_.waiting_max();
  options.batch_tokens_max = assign_.batch_tokens_max();
  options.prefill_chunk_max = assign_.prefill_chunk_max();
  options.prefill_chunk_min = held.model->ops().chunk_rows_min();
  options.positions_max = assign_.positions_max();
  options.vocab = assign_.vocab_limit() > 0 ? assign_.vocab_limit() : model.config().vocab;
  options.full = model.kv_specs()[kFull];
  options.window = model.kv_specs()[kWindow];
  options.full_pages = model.options().num_pages[kFull];
  options.window_pages = model.options().num_pages[kWindow];
  options.has_full = options.full.num_layers > 0;
  options.has_window = options.window.num_layers > 0;
  options.constraints = held.rules != nullptr;
  return options;
}

v1::RankReady RankEpoch::ready(const HeldModel& held) const {
  v1::RankReady message;
  message.set_epoch(assign_.epoch());
  message.set_kept_weights(kept_weights_);
  message.set_load_seconds(load_seconds_);
  message.set_weight_bytes(held.model->loaded_bytes());
  const MemoryReport memory = held.rank->memory();
  for (int32_t i = 0; i < kernels::kNumPurposes; ++i) {
    v1::PurposeBytes& entry = *message.add_memory();
    entry.set_purpose(kernels::purpose_name(static_cast<kernels::Purpose>(i)));
    entry.set_bytes(memory.by_purpose[static_cast<size_t>(i)]);
  }
  message.set_full_pages(held.model->options().num_pages[kFull]);
  message.set_window_pages(held.model->options().num_pages[kWindow]);
  message.set_sequences_max(assign_.sequences_max());
  return message;
}

Result<void> RankEpoch::check_wanted() {
  std::lock_guard lock(mutex_);
  if (why_.has_value()) return *why_;
  return {};
}

Error RankEpoch::wait_for_end() {
  std::unique_lock lock(mutex_);
  ended_.wait(lock, [this] { return why_.has_value(); });
  return *why_;
}

int64_t RankEpoch::timeout_ms() const {
  return static_cast<int64_t>(assign_.step_timeout_s() * 1000) + 1;
}

}  // namespace mimo::node
