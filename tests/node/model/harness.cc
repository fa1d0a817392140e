#include "harness.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "checkpoint/safetensors.h"
#include "parallel/local_group.h"
#include "parallel/single_group.h"

namespace mimo::node::model_test {

std::string checkpoint_folder(const std::string& name) {
  const std::string root = MIMO_SOURCE_DIR;
  return name == "tiny" ? root + "/models/tiny" : root + "/tests/golden/" + name;
}

std::vector<GoldenCase> golden_cases(const std::string& folder) {
  std::ifstream file(folder + "/expected.json");
  const auto expected = nlohmann::json::parse(file);
  std::vector<GoldenCase> cases;
  for (const auto& one : expected.at("cases")) {
    cases.push_back({one.at("prompt").get<std::vector<int32_t>>(),
                     one.at("greedy").get<std::vector<int32_t>>(),
                     one.at("min_top2_margin").get<double>(), one.value("logits", "")});
  }
  return cases;
}

std::vector<float> golden_logits(const std::string& folder, const std::string& name) {
  const auto file =
      checkpoint::SafetensorsFile::open(folder + "/expected_logits.safetensors").value();
  const checkpoint::TensorView tensor = file->tensor(name).value();
  CHECK(tensor.dtype == DType::kF32);
  std::vector<float> values(tensor.bytes.size() / sizeof(float));
  std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
  return values;
}

ModelLimits test_limits(int32_t page_tokens) {
  ModelLimits limits;
  limits.tokens_max = 512;
  limits.sequences_max = 8;
  limits.logits_rows_max = 96;
  limits.prefill_chunk_max = 512;
  limits.positions_max = 400;
  limits.page_tokens = page_tokens;
  return limits;
}

namespace {

Result<std::unique_ptr<kernels::Ops>> make_ops(const ClusterOptions& options) {
  if (options.make_ops) return options.make_ops();
  return kernels::make_cpu_ops({.mode = options.mode, .num_threads = 1});
}

// Ranks of a LocalGroup add on the host.
std::vector<std::unique_ptr<parallel::TpGroup>> make_groups(const ClusterOptions& options) {
  if (!options.make_ops) {
    return parallel::make_local_groups(options.tp, options.group_timeout_ms);
  }
  CHECK_EQ(options.tp, 1);
  std::vector<std::unique_ptr<parallel::TpGroup>> groups;
  groups.push_back(parallel::make_single_group());
  return groups;
}

}  // namespace

Result<std::unique_ptr<Cluster>> Cluster::create(const std::string& folder,
                                                 const ClusterOptions& options) {
  std::unique_ptr<Cluster> cluster(new Cluster());
  cluster->options_ = options;
  TRY(cluster->load(folder));
  return cluster;
}

Cluster::~Cluster() = default;

Result<void> Cluster::load(const std::string& folder) {
  TRY_ASSIGN(const auto checkpoint, checkpoint::Checkpoint::open(folder));
  TRY_ASSIGN(const parallel::ShardPlan plan,
             parallel::plan_shards(checkpoint->config(), {options_.tp, options_.experts}));
  groups_ = make_groups(options_);
  members_.resize(static_cast<size_t>(options_.tp));
  for (int32_t i = 0; i < options_.tp; ++i) {
    Member& member = members_[i];
    TRY_ASSIGN(member.ops, make_ops(options_));
    if (options_.deferred != nullptr) {
      CHECK_EQ(options_.tp, 1);
      member.ops = make_deferred_ops(std::move(member.ops), *options_.deferred);
    }
    Model::Options model;
    model.plan = plan;
    model.rank = i;
    model.limits = options_.limits;
    model.num_pages = options_.num_pages;
    TRY_ASSIGN(member.model, Model::create(*checkpoint, *member.ops, model));
    if (options_.make_rules) member.rules = options_.make_rules();
    TRY_ASSIGN(member.rank, Rank::create(*member.model, *groups_[i],
                                         {.epoch = epoch_,
                                          .vocab_limit = options_.vocab_limit,
                                          .rules = member.rules.get()}));
  }
  return {};
}

Result<StepResult> Cluster::run(const StepPlan& plan) {
  return on_all([&](Rank& rank) { return rank.run(plan); });
}

Result<void> Cluster::start(const StepPlan& plan) {
  TRY(on_all([&](Rank& rank) -> Result<StepResult> {
    TRY(rank.start(plan));
    return StepResult{};
  }));
  return {};
}

Result<StepResult> Cluster::finish() {
  return on_all([](Rank& rank) { return rank.finish(); });
}

Result<StepResult> Cluster::on_all(const std::function<Result<StepResult>(Rank&)>& call) {
  std::vector<std::optional<Result<StepResult>>> results(members_.size());
  std::vector<std::thread> threads;
  for (size_t i = 1; i < members_.size(); ++i) {
    threads.emplace_back([&, i] { results[i] = call(*members_[i].rank); });
  }
  results[0] = call(*members_[0].rank);
  for (std::thread& thread : threads) thread.join();
  for (const auto& result : results) {
    EXPECT_EQ(result->ok(), results[0]->ok());
    if (!result->ok() || !results[0]->ok()) continue;
    EXPECT_EQ(result->value().plan_digest, results[0]->value().plan_digest);
    EXPECT_EQ(result->value().result_digest, results[0]->value().result_digest);
  }
  return *results[0];
}

void Cluster::reset() {
  auto groups = make_groups(options_);
  ++epoch_.value;
  for (int32_t i = 0; i < size(); ++i) {
    ASSERT_TRUE(members_[i].rank->reset(epoch_, *groups[i]).ok());
  }
  groups_ = std::move(groups);
}

std::vector<int32_t> Sequence::output_ids() const {
  std::vector<int32_t> ids;
  for (const kernels::TokenChoice& choice : outputs) ids.push_back(choice.id);
  return ids;
}

Sequence golden_sequence(const GoldenCase& one, bool all_logits) {
  Sequence sequence{.prompt = one.prompt, .num_outputs = static_cast<int32_t>(one.greedy.size())};
  sequence.sampling.temperature = 0;
  if (all_logits) {
    sequence.sampling.num_logprobs = kernels::kAllLogprobs;
    sequence.sampling.raw_logits = true;
    sequence.num_prompt_logprobs = kernels::kAllLogprobs;
  }
  return sequence;
}

Planner::Planner(Cluster& cluster, std::vector<Sequence>& sequences, int32_t chunk)
    : cluster_(cluster), sequences_(sequences), chunk_(chunk), slots_(sequences.size()) {
  plan_.epoch = cluster.epoch();
  for (size_t kind = 0; kind < free_.size(); ++kind) {
    for (int32_t page = cluster.options().num_pages[kind] - 1; page >= 0; --page) {
      free_[kind].push_back(PageId{page});
    }
  }
}

void Planner::admit(int32_t i) {
  drain();
  const Sequence& sequence = sequences_[i];
  Admission admission{SlotId{i}, sequence.sampling, sequence.prompt};
  admission.num_prompt = static_cast<int32_t>(sequence.prompt.size());
  admission.num_prompt_logprobs = sequence.num_prompt_logprobs;
  for (const int32_t id : sequence.output_ids()) admission.tokens.push_back(id);
  admission.constraint = sequence.constraint;
  slots_[i].active = true;
  slots_[i].num_known = static_cast<int32_t>(admission.tokens.size());
  slots_[i].num_drawn = static_cast<int32_t>(sequence.outputs.size());
  plan_.admissions.push_back(std::move(admission));
}

void Planner::release(int32_t i) {
  drain();
  give_up(i);
}

void Planner::give_up(int32_t i) {
  Slot& slot = slots_[i];
  for (size_t kind = 0; kind < free_.size(); ++kind) {
    free_[kind].insert(free_[kind].end(), slot.pages[kind].begin(), slot.pages[kind].end());
  }
  slot = {};
  plan_.releases.push_back(SlotId{i});
}

bool Planner::done() const {
  return std::none_of(slots_.begin(), slots_.end(), [](const Slot& slot) { return slot.active; });
}

void Planner::plan_rows() {
  int32_t left = cluster_.options().limits.tokens_max - static_cast<int32_t>(slots_.size());
  for (size_t i = 0; i < slots_.size(); ++i) {
    Slot& slot = slots_[i];
    const int32_t unread = slot.num_known - slot.num_read;
    if (!slot.active || unread == 0) continue;
    const int32_t num_tokens = unread == 1 ? 1 : std::min({unread, chunk_, left});
    if (num_tokens == 0) continue;
    if (unread > 1) {
      plan_.prefills.push_back({SlotId{static_cast<int32_t>(i)}, num_tokens});
      left -= num_tokens;
    }
    plan_pages(static_cast<int32_t>(i), num_tokens);
    slot.num_read += num_tokens;
    if (slot.num_read < slot.num_known) continue;
    ++slot.num_known;
    ++slot.num_drawn;
  }
}

void Planner::plan_pages(int32_t i, int32_t num_tokens) {
  Slot& slot = slots_[i];
  for (const kvcache::KvSpec& spec : cluster_.specs()) {
    if (spec.num_layers == 0) continue;
    const auto kind = static_cast<size_t>(spec.kind);
    std::vector<PageId>& pages = slot.pages[kind];
    const int32_t left_window = spec.first_live_page(slot.num_read) - slot.first_page[kind];
    if (left_window > 0) {
      plan_.returns.push_back({SlotId{i}, spec.kind, left_window});
      free_[kind].insert(free_[kind].end(), pages.begin(), pages.begin() + left_window);
      pages.erase(pages.begin(), pages.begin() + left_window);
      slot.first_page[kind] += left_window;
    }
    PageGrant grant{SlotId{i}, spec.kind};
    const int32_t end = spec.pages_for(slot.num_read + num_tokens);
    while (slot.first_page[kind] + static_cast<int32_t>(pages.size()) < end) {
      CHECK(!free_[kind].empty());
      grant.pages.push_back(free_[kind].back());
      pages.push_back(free_[kind].back());
      free_[kind].pop_back();
    }
    if (!grant.pages.empty()) plan_.grants.push_back(std::move(grant));
  }
}

void Planner::take(const StepResult& result) {
  for (const SlotOutput& output : result.outputs) {
    const int32_t i = output.slot.value;
    Sequence& sequence = sequences_[i];
    int32_t position = output.prompt_begin;
    for (const kernels::TokenChoice& score : output.prompt_scores) {
      sequence.scores[position++] = score;
    }
    if (!output.drew) continue;
    if (sequence.rules_error.code == Code::kOk) sequence.rules_error = output.rules_error;
    sequence.outputs.push_back(output.choice);
  }
}

void Planner::step() {
  plan_.step = next_step_++;
  plan_rows();
  const auto started = cluster_.start(plan_);
  ASSERT_TRUE(started.ok()) << started.error().to_string();
  plan_ = {.epoch = cluster_.epoch()};
  if (++num_out_ == cluster_.steps_in_flight_max()) take_one();
  for (size_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i].active && slots_[i].num_drawn == sequences_[i].num_outputs) {
      give_up(static_cast<int32_t>(i));
    }
  }
}

void Planner::take_one() {
  const auto result = cluster_.finish();
  ASSERT_TRUE(result.ok()) << result.error().to_string();
  --num_out_;
  take(result.value());
}

void Planner::drain() {
  while (num_out_ > 0 && !::testing::Test::HasFatalFailure()) take_one();
}

void Planner::run_to_end() {
  while (!done() && !::testing::Test::HasFatalFailure()) step();
  if (!plan_.releases.empty()) step();
  drain();
}

void generate(Cluster& cluster, std::vector<Sequence>& sequences, int32_t chunk) {
  cluster.reset();
  Planner planner(cluster, sequences, chunk);
  for (size_t i = 0; i < sequences.size(); ++i) planner.admit(static_cast<int32_t>(i));
  planner.run_to_end();
}

}  // namespace mimo::node::model_test
