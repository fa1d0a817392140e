#include "node/model/rank.h"

#include <algorithm>
#include <string>
#include <thread>
#include <utility>

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

// A step that is held needs the tokens of the one step before it, and nothing may be queued until
// its own draws are.
constexpr int32_t kStepsOutMax = 2;

int32_t mask_threads(const Rank::Options& options) {
  const auto cores = static_cast<int32_t>(std::max(1u, std::thread::hardware_concurrency()));
  return std::min(options.mask_threads_max, cores);
}

}  // namespace

Rank::Rank(Model& model, parallel::TpGroup& group, const Options& options)
    : model_(model),
      group_(&group),
      options_(options),
      checker_({limit_of(model, options), model.config().vocab, model.options().limits,
                model.kv_specs(), options.rules != nullptr}),
      epoch_(options.epoch),
      slots_(static_cast<size_t>(model.options().limits.sequences_max)),
      page_ends_(slots_.size()) {}

Result<std::unique_ptr<Rank>> Rank::create(Model& model, parallel::TpGroup& group,
                                           const Options& options) {
  const int32_t vocab = model.config().vocab;
  if (options.vocab_limit < 0 || options.vocab_limit > vocab) {
    return invalid_argument("vocab_limit is " + std::to_string(options.vocab_limit) +
                            ", expected 0 to " + std::to_string(vocab));
  }
  std::unique_ptr<Rank> rank(new Rank(model, group, options));
  kernels::Ops& ops = model.ops();
  const int32_t num_copies = std::min(ops.steps_in_flight_max(), kStepsOutMax);
  TRY_ASSIGN(rank->chooser_, TokenChooser::create(model, limit_of(model, options), num_copies));
  TRY_ASSIGN(rank->masks_, TokenMasks::create(ops,
                                              {.source = options.rules,
                                               .num_slots = model.options().limits.sequences_max,
                                               .vocab_limit = limit_of(model, options),
                                               .num_copies = num_copies,
                                               .threads_max = mask_threads(options)},
                                              model.buffer_sizes().masks));
  TRY(rank->indices_.allocate(ops, model.buffer_sizes().step_indices, num_copies));
  TRY(rank->make_store());
  ops.forget_recordings();  // of an earlier rank: their pointers are not this one's
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
  kernels::Ops& ops = model_.ops();
  ops.wait(ops.mark());
  pending_.clear();
  for (size_t slot = 0; slot < slots_.size(); ++slot) {
    if (!slots_[slot].active) continue;
    ops.clear_sampler(static_cast<int32_t>(slot));
    masks_->release(SlotId{static_cast<int32_t>(slot)});
    slots_[slot] = {};
  }
  TRY(make_store());
  group_ = &group;
  epoch_ = epoch;
  step_ = 0;
  plan_digest_ = 0;
  result_digest_ = 0;
  broken_.reset();
  ops.forget_recordings();
  recorded_ = false;
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

int32_t Rank::steps_in_flight_max() const { return indices_.num_copies(); }

Result<void> Rank::start(const StepPlan& plan) {
  if (broken_) return *broken_;
  if (static_cast<int32_t>(pending_.size()) >= steps_in_flight_max()) {
    return internal_error("step " + std::to_string(plan.step) + " while " +
                          std::to_string(pending_.size()) + " are out, which is all there may be");
  }
  TRY(check_turn(plan));
  TRY_ASSIGN(const std::span<const SlotRun> runs, checker_.check(plan, slots_, *store_));
  TRY(record());
  TRY(store_->apply(page_changes(plan)));
  change_slots(plan);
  change_tables(plan);
  plan_digest_ = chain_plan_digest(plan_digest_, plan);

  Pending& step = pending_.emplace_back();
  step.copy = static_cast<int32_t>(step_ % steps_in_flight_max());
  step.result.step = step_++;
  step.result.plan_digest = plan_digest_;
  build_rows(runs);
  build_tasks(runs, step);
  step.result.num_tokens = rows_.num_tokens();
  const bool decodes = only_decodes(runs);
  if (decodes) pad(model_.ops().padded_rows(rows_.num_tokens()));
  advance(runs);
  auto queued = queue(step, decodes);
  if (queued.ok() && step.held && pending_.size() == 1) queued = queue_draws(step);
  if (!queued.ok()) return fail(queued.error());
  check_memory();
  return {};
}

bool Rank::finished() {
  return broken_ || pending_.empty() || model_.ops().done(pending_.front().mark);
}

Result<StepResult> Rank::finish() {
  if (broken_) return *broken_;
  if (pending_.empty()) return internal_error("finish() while no step is out");
  Pending& step = pending_.front();
  model_.ops().wait(step.mark);
  StepResult result = std::move(step.result);
  // A device's work ends, with undefined results, when its group is broken meanwhile.
  auto taken = group_->check();
  if (taken.ok()) taken = take(step, result);
  pending_.pop_front();
  if (taken.ok() && !pending_.empty() && pending_.front().held) {
    taken = queue_draws(pending_.front());
  }
  if (!taken.ok()) return fail(taken.error());
  result_digest_ = chain_result_digest(result_digest_, result.outputs);
  result.result_digest = result_digest_;
  return result;
}

// The choices, and what the rules of constraints are to hear of them.
Result<void> Rank::take(Pending& step, StepResult& result) {
  TRY(chooser_->take(step.work, step.copy, result.outputs));
  for (size_t row = 0; row < step.work.masked.size(); ++row) {
    const RowTask& task = step.work.tasks[step.work.masked[row]];
    SlotOutput& output = result.outputs[task.output];
    output.rules_error = step.rules_errors[row];
    if (output.choice.id >= 0) masks_->drew(output.slot, task.tenant, output.choice.id);
  }
  return {};
}

Result<StepResult> Rank::run(const StepPlan& plan) {
  CHECK(pending_.empty());
  TRY(start(plan));
  return finish();
}

void Rank::change_slots(const StepPlan& plan) {
  for (const grammar::Spec& spec : plan.announced) masks_->announce(spec);
  for (const SlotId slot : plan.releases) {
    model_.ops().clear_sampler(slot.value);
    masks_->release(slot);
    slots_[slot.value] = {};
  }
  for (const Admission& admission : plan.admissions) {
    SlotState& slot = slots_[admission.slot.value];
    slot.active = true;
    slot.tokens = admission.tokens;
    slot.num_prompt = admission.num_prompt;
    slot.num_known = static_cast<int32_t>(admission.tokens.size());
    slot.num_read = admission.num_cached;
    slot.num_logprobs = admission.sampling.num_logprobs;
    masks_->admit(admission.slot, admission.constraint,
                  std::span(admission.tokens).subspan(admission.num_prompt));
    slot.plain_greedy =
        kernels::is_plain_greedy(admission.sampling) && masks_->tenant(admission.slot) == -1;
    slot.num_prompt_logprobs = admission.num_prompt_logprobs;
    slot.raw_logits = admission.sampling.raw_logits;
    for (const kvcache::KvSpec& spec : model_.kv_specs()) {
      page_ends_[admission.slot.value][static_cast<size_t>(spec.kind)] =
          spec.num_layers > 0 ? spec.first_live_page(admission.num_cached) : 0;
    }
    model_.ops().set_sampler(admission.slot.value,
                             {admission.sampling, admission.tokens, admission.num_prompt});
  }
}

void Rank::change_tables(const StepPlan& plan) {
  table_changes_.at.clear();
  table_changes_.pages.clear();
  for (const PageGrant& grant : plan.grants) {
    int32_t& end = page_ends_[grant.slot.value][static_cast<size_t>(grant.kind)];
    for (const PageId page : grant.pages) {
      table_changes_.at.push_back(model_.page_tables().place(grant.kind, grant.slot, end++));
      table_changes_.pages.push_back(page.value);
    }
  }
}

void Rank::HostRows::clear() {
  ids.clear();
  row_run.clear();
  row_begin.assign(1, 0);
  context.clear();
  slot.clear();
  rows_per_run_max = 1;
}

void Rank::HostRows::add_run(int32_t slot_number, int32_t context_after, int32_t num_rows) {
  row_run.resize(row_run.size() + static_cast<size_t>(num_rows), num_runs());
  row_begin.push_back(num_tokens());
  context.push_back(context_after);
  slot.push_back(slot_number);
  rows_per_run_max = std::max(rows_per_run_max, num_rows);
}

void Rank::build_rows(std::span<const SlotRun> runs) {
  rows_.clear();
  for (const SlotRun& run : runs) {
    const std::vector<int32_t>& tokens = slots_[run.slot.value].tokens;
    const int32_t end = run.begin + run.num_tokens;
    rows_.add_run(run.slot.value, end, run.num_tokens);
    // A draw comes once all before it is read: a drawn token is a run's only one.
    for (int32_t i = run.begin; i < end; ++i) {
      const bool admitted = i < static_cast<int32_t>(tokens.size());
      rows_.ids.push_back(admitted ? tokens[i] : ~run.slot.value);
    }
  }
}

// A row that is the last known token draws the next; a prompt row before it may score the token
// that follows. So no row has two tasks.
void Rank::build_tasks(std::span<const SlotRun> runs, Pending& step) {
  std::vector<SlotOutput>& outputs = step.result.outputs;
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
    step.held = step.held || masks_->tenant(run.slot) >= 0;
    tasks_.push_back({.row = first_row + run.num_tokens - 1,
                      .output = output,
                      .draw = true,
                      .slot = run.slot.value,
                      .position = run.begin + run.num_tokens,
                      .tenant = masks_->tenant(run.slot),
                      .plain_greedy = slot.plain_greedy,
                      .num_logprobs = slot.num_logprobs});
  }
}

bool Rank::only_decodes(std::span<const SlotRun> runs) const {
  if (runs.empty() || tasks_.size() != runs.size()) return false;
  if (rows_.num_tokens() != rows_.num_runs()) return false;
  return std::all_of(tasks_.begin(), tasks_.end(), [](const RowTask& task) {
    return task.draw && !kernels::wants_full(task.num_logprobs);
  });
}

void Rank::pad(int32_t num_rows) {
  CHECK(num_rows >= rows_.num_tokens() && num_rows <= model_.runs_max());
  while (rows_.num_tokens() < num_rows) {
    tasks_.push_back({.row = rows_.num_tokens(), .output = -1, .draw = true, .plain_greedy = true});
    rows_.add_run(0, 0, 1);
    rows_.ids.push_back(0);
  }
}

void Rank::advance(std::span<const SlotRun> runs) {
  for (const SlotRun& run : runs) {
    SlotState& slot = slots_[run.slot.value];
    slot.num_read += run.num_tokens;
    // What could not be drawn (logits that are not finite) counts too: nobody here knows yet.
    if (run.draws) ++slot.num_known;
  }
}

Error Rank::fail(const Error& error) {
  pending_.clear();
  broken_ = Error{Code::kUnavailable, "rank " + std::to_string(model_.options().rank) + ", step " +
                                          std::to_string(std::max<int64_t>(step_ - 1, 0)) + ": " +
                                          error.to_string()};
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
