#include "node/model/rank.h"

#include <algorithm>
#include <string>

#include "base/log.h"
#include "node/engine/page_changes.h"

namespace mimo::node {
namespace {

using kernels::Purpose;
using kvcache::KvKind;
using kvcache::KvPlane;
using kvcache::PageState;

int32_t limit_of(const Model& model, const Rank::Options& options) {
  return options.vocab_limit == 0 ? model.config().vocab : options.vocab_limit;
}

}  // namespace

Rank::Rank(Model& model, parallel::TpGroup& group, const Options& options)
    : model_(model),
      group_(&group),
      options_(options),
      checker_({limit_of(model, options), model.config().vocab, model.options().limits,
                model.kv_specs()}),
      epoch_(options.epoch),
      slots_(static_cast<size_t>(model.options().limits.sequences_max)) {}

Result<std::unique_ptr<Rank>> Rank::create(Model& model, parallel::TpGroup& group,
                                           const Options& options) {
  const int32_t vocab = model.config().vocab;
  if (options.vocab_limit < 0 || options.vocab_limit > vocab) {
    return invalid_argument("vocab_limit is " + std::to_string(options.vocab_limit) +
                            ", expected 0 to " + std::to_string(vocab));
  }
  std::unique_ptr<Rank> rank(new Rank(model, group, options));
  TRY_ASSIGN(rank->chooser_, TokenChooser::create(model, limit_of(model, options)));
  TRY(rank->make_store());
  return rank;
}

Result<void> Rank::make_store() {
  kvcache::KvStore::Options options;
  options.num_slots = static_cast<int32_t>(slots_.size());
  for (const kvcache::KvSpec& spec : model_.kv_specs()) {
    if (spec.num_layers == 0) continue;
    options.pools.push_back({spec, model_.options().num_pages[static_cast<size_t>(spec.kind)]});
  }
  TRY_ASSIGN(store_, kvcache::KvStore::create(options));
  check_memory();
  return {};
}

Result<void> Rank::reset(Epoch epoch, parallel::TpGroup& group) {
  for (size_t slot = 0; slot < slots_.size(); ++slot) {
    if (!slots_[slot].active) continue;
    model_.ops().clear_sampler(static_cast<int32_t>(slot));
    slots_[slot] = {};
  }
  TRY(make_store());
  group_ = &group;
  epoch_ = epoch;
  step_ = 0;
  plan_digest_ = 0;
  result_digest_ = 0;
  broken_.reset();
  return {};
}

Result<void> Rank::check_turn(const StepPlan& plan) const {
  if (plan.epoch != epoch_) {
    return invalid_argument("a plan of epoch " + std::to_string(plan.epoch.value) + ", expected " +
                            std::to_string(epoch_.value));
  }
  if (plan.step != step_) {
    return invalid_argument("a plan of step " + std::to_string(plan.step) + ", expected " +
                            std::to_string(step_));
  }
  return {};
}

Result<StepResult> Rank::run(const StepPlan& plan) {
  if (broken_) return *broken_;
  TRY(check_turn(plan));
  TRY_ASSIGN(const std::span<const SlotRun> runs, checker_.check(plan, slots_, *store_));
  TRY(store_->apply(page_changes(plan)));
  change_slots(plan);
  plan_digest_ = chain_plan_digest(plan_digest_, plan);

  StepResult result;
  result.step = step_++;
  build_rows(runs);
  build_tasks(runs, result.outputs);
  if (rows_.num_tokens() > 0) {
    const auto ran = run_model(result.outputs);
    if (!ran.ok()) return fail(ran.error());
  }
  advance(runs, result.outputs);
  check_memory();
  result.num_tokens = rows_.num_tokens();
  result_digest_ = chain_result_digest(result_digest_, result.outputs);
  result.plan_digest = plan_digest_;
  result.result_digest = result_digest_;
  return result;
}

void Rank::change_slots(const StepPlan& plan) {
  for (const SlotId slot : plan.releases) {
    model_.ops().clear_sampler(slot.value);
    slots_[slot.value] = {};
  }
  for (const Admission& admission : plan.admissions) {
    SlotState& slot = slots_[admission.slot.value];
    slot.active = true;
    slot.tokens = admission.tokens;
    slot.num_prompt = admission.num_prompt;
    slot.num_read = 0;
    slot.num_prompt_logprobs = admission.num_prompt_logprobs;
    slot.raw_logits = admission.sampling.raw_logits;
    model_.ops().set_sampler(admission.slot.value,
                             {admission.sampling, admission.tokens, admission.num_prompt});
  }
}

void Rank::build_rows(std::span<const SlotRun> runs) {
  rows_.ids.clear();
  rows_.row_run.clear();
  rows_.row_begin.assign(1, 0);
  rows_.context.clear();
  for (const SlotRun& run : runs) {
    const auto first = slots_[run.slot.value].tokens.begin() + run.begin;
    rows_.ids.insert(rows_.ids.end(), first, first + run.num_tokens);
    rows_.row_run.resize(rows_.ids.size(), rows_.num_runs());
    rows_.row_begin.push_back(rows_.num_tokens());
    rows_.context.push_back(run.begin + run.num_tokens);
  }
  for (const kvcache::KvSpec& spec : model_.kv_specs()) {
    if (spec.num_layers > 0) build_pages(runs, spec.kind);
  }
}

void Rank::build_pages(std::span<const SlotRun> runs, KvKind kind) {
  StepRows::Pages& pages = rows_.pages[static_cast<size_t>(kind)];
  size_t stride = 0;
  for (const SlotRun& run : runs) {
    stride = std::max(stride, store_->page_table(run.slot, kind).pages.size());
  }
  pages.stride = static_cast<int32_t>(stride);
  // No page has the id -1: a kernel that reads past a table is found out.
  pages.ids.assign(runs.size() * stride, -1);
  pages.first_page.clear();
  for (size_t i = 0; i < runs.size(); ++i) {
    const kvcache::PageTable table = store_->page_table(runs[i].slot, kind);
    pages.first_page.push_back(table.first_page);
    std::transform(table.pages.begin(), table.pages.end(), pages.ids.begin() + i * stride,
                   [](PageId page) { return page.value; });
  }
}

// A row that is the last known token draws the next; a prompt row before it may score the token
// that follows. So no row has two tasks.
void Rank::build_tasks(std::span<const SlotRun> runs, std::vector<SlotOutput>& outputs) {
  tasks_.clear();
  for (size_t i = 0; i < runs.size(); ++i) {
    const SlotRun& run = runs[i];
    const SlotState& slot = slots_[run.slot.value];
    const int32_t scored_end = slot.num_prompt_logprobs == -1
                                   ? run.begin
                                   : std::min(run.begin + run.num_tokens, slot.num_prompt - 1);
    if (!run.draws && scored_end <= run.begin) continue;
    const auto output = static_cast<int32_t>(outputs.size());
    outputs.push_back({.slot = run.slot, .prompt_begin = run.begin + 1});
    const int32_t first_row = rows_.row_begin[i];
    for (int32_t position = run.begin; position < scored_end; ++position) {
      tasks_.push_back({.row = first_row + position - run.begin,
                        .output = output,
                        .token = slot.tokens[position + 1],
                        .num_logprobs = slot.num_prompt_logprobs,
                        .raw_logits = slot.raw_logits});
    }
    if (!run.draws) continue;
    tasks_.push_back({.row = first_row + run.num_tokens - 1,
                      .output = output,
                      .draw = true,
                      .position = run.begin + run.num_tokens});
  }
}

Result<void> Rank::run_model(std::vector<SlotOutput>& outputs) {
  TRY(model_.forward(rows_, *group_));
  return chooser_->choose(tasks_, outputs, *group_);
}

void Rank::advance(std::span<const SlotRun> runs, const std::vector<SlotOutput>& outputs) {
  for (const SlotRun& run : runs) slots_[run.slot.value].num_read += run.num_tokens;
  for (const SlotOutput& output : outputs) {
    // Nothing could be drawn from logits that are not finite: the slot stands still.
    if (!output.drew || !output.choice.finite) continue;
    CHECK_GE(output.choice.id, 0);
    slots_[output.slot.value].tokens.push_back(output.choice.id);
  }
}

Error Rank::fail(const Error& error) {
  broken_ = Error{Code::kUnavailable, "rank " + std::to_string(model_.options().rank) + ", step " +
                                          std::to_string(step_ - 1) + ": " + error.to_string()};
  return *broken_;
}

MemoryReport Rank::memory() const {
  MemoryReport report;
  report.by_purpose = model_.ops().bytes_by_purpose();
  for (const kvcache::KvSpec& spec : model_.kv_specs()) {
    if (spec.num_layers == 0) continue;
    for (const KvPlane plane : {KvPlane::kK, KvPlane::kV}) {
      for (const PageState state : {PageState::kFree, PageState::kActive}) {
        report.kv.push_back({spec.kind, plane, state, store_->bytes(spec.kind, plane, state)});
      }
    }
  }
  return report;
}

void Rank::check_memory() const {
  const auto by_purpose = model_.ops().bytes_by_purpose();
  for (const KvPlane plane : {KvPlane::kK, KvPlane::kV}) {
    int64_t held = 0;
    for (const KvKind kind : {KvKind::kFull, KvKind::kWindow}) {
      for (const PageState state : {PageState::kFree, PageState::kActive}) {
        held += store_->bytes(kind, plane, state);
      }
    }
    const Purpose purpose = plane == KvPlane::kK ? Purpose::kK : Purpose::kV;
    CHECK_EQ(held, by_purpose[static_cast<size_t>(purpose)]);
  }
}

}  // namespace mimo::node
