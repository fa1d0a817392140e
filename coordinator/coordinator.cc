#include "coordinator/coordinator.h"

#include <prometheus/registry.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <utility>

#include "base/clock.h"
#include "base/log.h"
#include "checkpoint/checkpoint.h"
#include "coordinator/api/api_server.h"
#include "coordinator/api/metrics_server.h"
#include "coordinator/api/server_facts.h"
#include "coordinator/chat/prompter.h"
#include "coordinator/generation_defaults.h"
#include "coordinator/groups/group_manager.h"
#include "coordinator/http/http_server.h"
#include "coordinator/sessions/admission.h"
#include "coordinator/sessions/request_probe.h"
#include "coordinator/sessions/sessions.h"
#include "coordinator/text/tokenizer.h"
#include "parallel/shard.h"

#ifndef MIMO_VERSION
#error "MIMO_VERSION comes from the build"
#endif

namespace mimo::coordinator {
namespace {

namespace fs = std::filesystem;
constexpr double kLastWritesS = 2.0;  // for the ends of streams to be written

// What is known of the checkpoint, once its files are closed again.
struct Description {
  checkpoint::ModelConfig config;
  uint64_t digest = 0;
  std::unique_ptr<text::Tokenizer> tokenizer;  // nullptr: ids only
  std::unique_ptr<chat::Prompter> prompter;
  std::string served_name;
  int32_t vocab_limit = 0;
  int32_t positions_max = 0;
};

std::string last_name(const std::string& folder) {
  fs::path path = fs::absolute(folder).lexically_normal();
  if (path.filename().empty()) path = path.parent_path();
  return path.filename().string();
}

Result<Description> describe(const CoordinatorOptions& options) {
  Description description;
  TRY_ASSIGN(const auto checkpoint, checkpoint::Checkpoint::open(options.model));
  description.config = checkpoint->config();
  description.digest = checkpoint->digest();
  description.served_name =
      options.served_name.empty() ? last_name(options.model) : options.served_name;

  description.vocab_limit = description.config.vocab;
  const std::string path = (fs::path(options.model) / "tokenizer.json").string();
  if (fs::exists(path)) {
    TRY_ASSIGN(description.tokenizer, text::Tokenizer::load(path));
    description.vocab_limit = description.tokenizer->vocab_size();
    if (description.vocab_limit > description.config.vocab)
      return invalid_argument(path + ": " + std::to_string(description.vocab_limit) +
                              " tokens, expected at most the model's " +
                              std::to_string(description.config.vocab));
  } else {
    log_warning("no_tokenizer", {{"file", path}, {"consequence", "ids only: text is refused"}});
  }

  TRY_ASSIGN(description.prompter, chat::Prompter::load(options.model));
  if (!description.prompter->has_template())
    log_warning("no_chat_template", {{"consequence", "conversations are refused"}});

  const int32_t positions = description.config.max_positions;
  description.positions_max =
      options.engine.positions_max > 0 ? options.engine.positions_max : positions;
  if (description.positions_max > positions)
    return invalid_argument("engine.positions_max = " + std::to_string(description.positions_max) +
                            ": expected at most the model's " + std::to_string(positions));
  return description;
}

Admission::Options admission_options(const CoordinatorOptions& options) {
  Admission::Options admission;
  admission.requests_max = options.api.requests_max;
  admission.sequences_max = options.api.sequences_max > 0
                                ? options.api.sequences_max
                                : options.engine.sequences_max + options.engine.waiting_max;
  return admission;
}

Result<RequestLimits> request_limits(const CoordinatorOptions& options,
                                     const Description& description) {
  RequestLimits limits;
  limits.model = description.served_name;
  limits.vocab_limit = description.vocab_limit;
  limits.positions_max = description.positions_max;
  limits.max_tokens_max = options.api.max_tokens_max;
  // More than are ever let in would be told to come back for ever.
  limits.num_sequences_max =
      std::min(options.api.num_sequences_max, admission_options(options).sequences_max);
  limits.candidates_max = options.api.candidates_max;
  limits.prompt_bytes_max = options.api.prompt_bytes_max;
  limits.message_bytes_max = options.api.message_bytes_max;
  limits.has_tokenizer = description.tokenizer != nullptr;
  limits.allow_logits = options.debug.logits;
  for (const int32_t id : description.config.eos_ids) {
    // Padding past the tokenizer's last id is never drawn, so it ends nothing.
    if (id < limits.vocab_limit) {
      limits.eos_ids.push_back(id);
    } else {
      log_warning("eos_id_is_padding", {{"id", id}, {"vocab_limit", limits.vocab_limit}});
    }
  }
  if (options.generation.use_checkpoint_defaults)
    TRY(apply_generation_defaults((fs::path(options.model) / "generation_config.json").string(),
                                  &limits));
  return limits;
}

Result<GroupManager::Options> group_options(const CoordinatorOptions& options,
                                            const Description& description) {
  GroupManager::Options group;
  parallel::ShardOptions shard;
  shard.tp = options.tp;
  if (options.experts == "columns") shard.experts = parallel::ExpertPlacement::kColumns;
  if (options.experts == "whole") shard.experts = parallel::ExpertPlacement::kWhole;
  TRY_ASSIGN(group.shard, parallel::plan_shards(description.config, shard));
  for (const std::string& note : group.shard.notes) log_info("shard_plan", {{"note", note}});

  group.cluster_listen = options.cluster.listen;
  group.model_folder = fs::absolute(options.model).lexically_normal().string();
  group.checkpoint_digest = description.digest;
  group.heartbeat_interval_s = options.cluster.heartbeat_interval_s;
  group.heartbeat_timeout_s = options.cluster.heartbeat_timeout_s;
  group.form_timeout_s = options.cluster.form_timeout_s;
  group.load_timeout_s = options.cluster.load_timeout_s;

  v1::AssignRank& engine = group.engine;
  engine.set_page_tokens(options.engine.page_tokens);
  engine.set_kv_bytes(options.engine.kv_bytes);
  engine.set_full_pages(options.engine.full_pages);
  engine.set_window_pages(options.engine.window_pages);
  engine.set_sequences_max(options.engine.sequences_max);
  engine.set_waiting_max(options.engine.waiting_max);
  engine.set_batch_tokens_max(options.engine.batch_tokens_max);
  engine.set_prefill_chunk_max(options.engine.prefill_chunk_max);
  engine.set_positions_max(description.positions_max);
  engine.set_vocab_limit(description.vocab_limit);
  engine.set_mode(options.engine.mode);
  engine.set_step_timeout_s(options.engine.step_timeout_s);
  return group;
}

ServerFacts server_facts(const CoordinatorOptions& options, const Description& description) {
  const checkpoint::ModelConfig& config = description.config;
  ServerFacts facts;
  facts.model.set_model(description.served_name);
  facts.model.set_architecture(config.architecture);
  facts.model.set_vocab_size(description.vocab_limit);
  facts.model.set_max_positions(description.positions_max);
  facts.model.mutable_eos_token_ids()->Add(config.eos_ids.begin(), config.eos_ids.end());
  if (description.tokenizer != nullptr)
    facts.model.set_tokenizer("byte-level BPE, " +
                              std::to_string(description.tokenizer->vocab_size()) + " tokens");
  facts.model.set_num_layers(config.num_layers);
  facts.model.set_num_full_layers(config.num_layers_of(checkpoint::AttentionKind::kFull));
  facts.model.set_num_window_layers(config.num_layers_of(checkpoint::AttentionKind::kWindow));
  facts.model.set_window(config.window.window);
  char digest[20];
  std::snprintf(digest, sizeof digest, "%016llx",
                static_cast<unsigned long long>(description.digest));
  facts.model.set_checkpoint_digest(digest);

  facts.server.set_version(MIMO_VERSION);
  facts.server.set_schema_revision(1);
  facts.server.set_role("both");
  facts.server.set_tensor_parallel(options.tp);
  facts.server.set_kv_page_tokens(options.engine.page_tokens);
  facts.server.set_max_running_requests(options.engine.sequences_max);
  facts.server.set_max_batched_tokens(options.engine.batch_tokens_max);
  return facts;
}

Sessions::Options session_options(const CoordinatorOptions& options, RequestLimits limits) {
  Sessions::Options sessions;
  sessions.limits = std::move(limits);
  sessions.stream_bytes_max = options.api.stream_bytes_max;
  sessions.reader_grace_s = options.api.reader_grace_s;
  sessions.tokenizer_threads = options.api.tokenizer_threads;
  return sessions;
}

ApiServer::Options api_options(const CoordinatorOptions& options) {
  ApiServer::Options api;
  api.listen = options.api.listen;
  api.message_bytes_max = options.api.message_bytes_max;
  api.reflection = options.api.reflection;
  api.keepalive_s = options.api.keepalive_s;
  api.keepalive_timeout_s = options.api.keepalive_timeout_s;
  api.ping_interval_min_s = options.api.ping_interval_min_s;
  api.stall_s = options.api.stall_s;
  api.reader_threads = options.api.tokenizer_threads;
  return api;
}

http::HttpServer::Options http_options(const CoordinatorOptions& options) {
  http::HttpServer::Options http;
  http.listen = options.http.listen;
  http.connections_max = options.http.connections_max;
  http.header_bytes_max = options.http.header_bytes_max;
  http.body_bytes_max = options.http.body_bytes_max;
  http.idle_timeout_s = options.http.idle_timeout_s;
  http.request_timeout_s = options.http.request_timeout_s;
  http.write_timeout_s = options.http.write_timeout_s;
  http.threads = options.http.threads;
  return http;
}

// What a page id of each layer group stands for, over all ranks: every rank holds at least one
// head.
std::vector<http::KvGroup> kv_groups(const CoordinatorOptions& options,
                                     const checkpoint::ModelConfig& config) {
  const auto group = [&](const char* name, const checkpoint::AttentionShape& shape,
                         checkpoint::AttentionKind kind) {
    const int64_t heads = std::max(shape.num_kv_heads, options.tp);
    const int64_t rows = heads * options.engine.page_tokens * config.num_layers_of(kind);
    return http::KvGroup{name, {{"k", rows * shape.k_dim}, {"v", rows * shape.v_dim}}};
  };
  return {group("full", config.full, checkpoint::AttentionKind::kFull),
          group("window", config.window, checkpoint::AttentionKind::kWindow)};
}

}  // namespace

struct Coordinator::Parts {
  Parts(const CoordinatorOptions& wanted, Description known, const RequestLimits& bounds)
      : options(wanted),
        description(std::move(known)),
        limits(bounds),
        admission(admission_options(wanted), clock),
        probe(*registry, limits.model, limits.positions_max),
        sessions(session_options(wanted, limits), description.tokenizer.get(), admission, probe,
                 clock) {}

  // nullptr: this checkpoint has no chat template.
  const chat::Prompter* prompter() const {
    return description.prompter->has_template() ? description.prompter.get() : nullptr;
  }
  http::Doors http_doors(const ServerFacts& facts) {
    return {sessions,
            description.tokenizer.get(),
            prompter(),
            facts,
            [this] { return api->readiness(); },
            registry,
            clock,
            limits,
            admission_options(options),
            kv_groups(options, description.config),
            options.engine.mode};
  }

  CoordinatorOptions options;
  Description description;
  RequestLimits limits;
  SystemClock clock;
  std::shared_ptr<prometheus::Registry> registry = std::make_shared<prometheus::Registry>();
  Admission admission;
  RequestProbe probe;
  Sessions sessions;
  std::unique_ptr<GroupManager> group;  // calls sessions until it is gone
  std::unique_ptr<ApiServer> api;
  std::unique_ptr<http::HttpServer> http;  // nullptr: not served
  std::unique_ptr<MetricsServer> metrics;
  bool stopped = false;
};

Result<std::unique_ptr<Coordinator>> Coordinator::create(const CoordinatorOptions& options) {
  TRY(options.validate());
  TRY_ASSIGN(Description description, describe(options));
  TRY_ASSIGN(RequestLimits limits, request_limits(options, description));
  TRY_ASSIGN(GroupManager::Options group, group_options(options, description));
  ServerFacts facts = server_facts(options, description);

  auto parts = std::make_unique<Parts>(options, std::move(description), limits);
  Parts& p = *parts;
  TRY_ASSIGN(p.group, GroupManager::create(std::move(group), p.sessions.sink()));
  facts.status = [&p] { return p.group->status(); };
  p.sessions.attach(*p.group, [&p] { return p.group->status().reason; });
  TRY_ASSIGN(p.api, ApiServer::create(
                        api_options(options), facts, p.sessions, p.admission, p.clock,
                        {p.prompter(), p.description.tokenizer.get(), p.limits.prompt_bytes_max}));
  TRY_ASSIGN(p.metrics,
             MetricsServer::create(options.metrics.listen, p.registry, facts, p.sessions));
  Addresses addresses{p.api->address(), "", p.group->cluster_address(), p.metrics->address()};
  if (!options.http.listen.empty()) {
    TRY_ASSIGN(p.http, http::HttpServer::create(http_options(options), p.http_doors(facts)));
    addresses.http_listen = p.http->address();
  }
  return std::unique_ptr<Coordinator>(new Coordinator(std::move(parts), std::move(addresses)));
}

Coordinator::Coordinator(std::unique_ptr<Parts> parts, Addresses addresses)
    : parts_(std::move(parts)), addresses_(std::move(addresses)) {}

Coordinator::~Coordinator() { stop(); }

void Coordinator::begin_drain() {
  parts_->api->set_not_serving();
  parts_->admission.close();
}

bool Coordinator::wait_idle(std::chrono::milliseconds timeout) {
  return parts_->admission.wait_empty(timeout);
}

void Coordinator::stop() {
  if (parts_->stopped) return;
  parts_->stopped = true;
  begin_drain();
  parts_->sessions.stop(draining_error());
  if (parts_->http != nullptr) parts_->http->stop(kLastWritesS);
  parts_->api->stop(kLastWritesS);
  if (parts_->options.cluster.shutdown_workers) parts_->group->shutdown_workers();
  parts_->metrics.reset();
  parts_->http.reset();
  parts_->api.reset();
  parts_->group.reset();
}

}  // namespace mimo::coordinator
