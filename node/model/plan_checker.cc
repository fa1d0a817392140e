#include "node/model/plan_checker.h"

#include "node/model/sampling_check.h"

namespace mimo::node {
namespace {

using kvcache::KvKind;

std::string text(SlotId slot) { return "slot " + std::to_string(slot.value); }
std::string text(int64_t value) { return std::to_string(value); }

}  // namespace

PlanChecker::PlanChecker(const Options& options)
    : options_(options), views_(static_cast<size_t>(options.limits.sequences_max)) {
  runs_.reserve(views_.size());
}

Result<std::span<const SlotRun>> PlanChecker::check(const StepPlan& plan,
                                                    std::span<const SlotState> slots,
                                                    const kvcache::KvStore& store) {
  start(slots, store);
  TRY(check_changes(plan));
  TRY(check_rows(plan));
  return std::span<const SlotRun>(runs_);
}

void PlanChecker::start(std::span<const SlotState> slots, const kvcache::KvStore& store) {
  runs_.clear();
  CHECK_EQ(slots.size(), views_.size());
  for (size_t i = 0; i < slots.size(); ++i) {
    View& view = views_[i];
    view = {};
    if (!slots[i].active) continue;
    view.active = true;
    view.num_known = slots[i].num_known;
    view.num_read = slots[i].num_read;
    for (size_t kind = 0; kind < kvcache::kNumKvKinds; ++kind) {
      const kvcache::PageTable table =
          store.page_table(SlotId{static_cast<int32_t>(i)}, static_cast<KvKind>(kind));
      view.first_page[kind] = table.first_page;
      view.num_pages[kind] = static_cast<int32_t>(table.pages.size());
    }
  }
}

Result<void> PlanChecker::check_slot(SlotId slot, bool active, const char* what) const {
  if (slot.value < 0 || slot.value >= static_cast<int32_t>(views_.size())) {
    return internal_error(std::string(what) + " of " + text(slot) + ", expected 0 to " +
                          text(static_cast<int64_t>(views_.size()) - 1));
  }
  if (views_[slot.value].active == active) return {};
  return internal_error(std::string(what) + " of " + text(slot) +
                        (active ? ", which is free" : ", which is active"));
}

Result<void> PlanChecker::check_kind(SlotId slot, KvKind kind, const char* what) const {
  const auto index = static_cast<size_t>(kind);
  if (index < options_.specs.size() && options_.specs[index].num_layers > 0) return {};
  return internal_error(std::string(what) + " of " + text(slot) + " in layer group " +
                        text(static_cast<int64_t>(index)) + ", which the model has not");
}

Result<void> PlanChecker::check_changes(const StepPlan& plan) {
  for (const SlotId slot : plan.releases) {
    TRY(check_slot(slot, true, "release"));
    views_[slot.value] = {};
  }
  for (const Admission& admission : plan.admissions) {
    TRY(check_slot(admission.slot, false, "admission"));
    TRY(check_admission(admission));
    View& view = views_[admission.slot.value];
    view = {};
    view.active = true;
    view.num_known = static_cast<int32_t>(admission.tokens.size());
    view.num_read = admission.num_cached;
    for (size_t kind = 0; kind < options_.specs.size(); ++kind) {
      const kvcache::KvSpec& spec = options_.specs[kind];
      if (spec.num_layers > 0) view.first_page[kind] = spec.first_live_page(view.num_read);
    }
  }
  for (const PageReturn& change : plan.returns) TRY(check_return(change));
  for (const PageGrant& grant : plan.grants) {
    TRY(check_slot(grant.slot, true, "grant"));
    TRY(check_kind(grant.slot, grant.kind, "grant"));
    View& view = views_[grant.slot.value];
    const auto kind = static_cast<size_t>(grant.kind);
    view.num_pages[kind] += static_cast<int32_t>(grant.pages.size());
    const int32_t end = view.first_page[kind] + view.num_pages[kind];
    const int32_t end_max = options_.specs[kind].pages_for(options_.limits.positions_max);
    if (end > end_max) {
      return internal_error("grant of " + text(grant.slot) + " makes its " +
                            kvcache::kv_kind_name(grant.kind) + " pages reach logical page " +
                            text(end) + ", expected at most " + text(end_max));
    }
    const int32_t held_max = page_table_stride(options_.specs[kind], options_.limits);
    if (view.num_pages[kind] > held_max) {
      return internal_error("grant of " + text(grant.slot) + " makes it hold " +
                            text(view.num_pages[kind]) + " " + kvcache::kv_kind_name(grant.kind) +
                            " pages, expected at most " + text(held_max));
    }
  }
  return {};
}

Result<void> PlanChecker::check_admission(const Admission& admission) const {
  const std::string at = "admission of " + text(admission.slot) + ": ";
  const auto num_tokens = static_cast<int64_t>(admission.tokens.size());
  if (num_tokens < 1 || num_tokens > options_.limits.positions_max) {
    return invalid_argument(at + text(num_tokens) + " tokens, expected 1 to " +
                            text(options_.limits.positions_max));
  }
  if (admission.num_prompt < 1 || admission.num_prompt > num_tokens) {
    return invalid_argument(at + "num_prompt is " + text(admission.num_prompt) +
                            ", expected 1 to " + text(num_tokens));
  }
  if (admission.num_cached < 0 || admission.num_cached >= num_tokens) {
    return invalid_argument(at + "num_cached is " + text(admission.num_cached) +
                            ", expected 0 to " + text(num_tokens - 1));
  }
  if (admission.num_prompt_logprobs < kernels::kAllLogprobs) {
    return invalid_argument(at + "num_prompt_logprobs is " + text(admission.num_prompt_logprobs) +
                            ", expected at least " + text(kernels::kAllLogprobs));
  }
  if (admission.constraint.kind != grammar::Spec::Kind::kNone && !options_.constraints) {
    return Error{Code::kUnimplemented,
                 at + "it has a constraint, which needs the tokenizer's vocabulary"};
  }
  for (const int32_t id : admission.tokens) {
    TRY(check_id(admission.slot, "token", id, options_.vocab_limit));
  }
  for (const int32_t id : admission.sampling.stop_ids) {
    TRY(check_id(admission.slot, "stop id", id, options_.vocab));
  }
  for (const auto& [id, bias] : admission.sampling.logit_bias) {
    TRY(check_id(admission.slot, "logit_bias id", id, options_.vocab));
  }
  const auto sampling = check_sampling(admission.sampling);
  if (!sampling.ok()) return sampling.error().with_context("admission of " + text(admission.slot));
  return {};
}

Result<void> PlanChecker::check_id(SlotId slot, const char* what, int32_t id, int32_t end) const {
  if (id >= 0 && id < end) return {};
  return invalid_argument("admission of " + text(slot) + ": " + what + " " + text(id) +
                          ", expected 0 to " + text(end - 1));
}

Result<void> PlanChecker::check_return(const PageReturn& change) {
  TRY(check_slot(change.slot, true, "return"));
  TRY(check_kind(change.slot, change.kind, "return"));
  View& view = views_[change.slot.value];
  const auto kind = static_cast<size_t>(change.kind);
  if (change.num_pages < 1 || change.num_pages > view.num_pages[kind]) {
    return internal_error("return of " + text(change.slot) + ": " + text(change.num_pages) + " " +
                          kvcache::kv_kind_name(change.kind) + " pages, expected 1 to " +
                          text(view.num_pages[kind]));
  }
  view.first_page[kind] += change.num_pages;
  view.num_pages[kind] -= change.num_pages;
  return {};
}

Result<void> PlanChecker::check_rows(const StepPlan& plan) {
  for (const Prefill& prefill : plan.prefills) {
    TRY(check_slot(prefill.slot, true, "prefill"));
    View& view = views_[prefill.slot.value];
    if (view.has_rows) return internal_error("prefill of " + text(prefill.slot) + " twice");
    const int32_t unread = view.num_known - view.num_read;
    if (prefill.num_tokens < 1 || prefill.num_tokens > unread) {
      return internal_error("prefill of " + text(prefill.slot) + ": " + text(prefill.num_tokens) +
                            " tokens, expected 1 to " + text(unread) + ", which are not read yet");
    }
    add_run(prefill.slot, prefill.num_tokens);
  }
  for (size_t i = 0; i < views_.size(); ++i) {
    const View& view = views_[i];
    if (!view.active || view.has_rows || view.num_known - view.num_read != 1) continue;
    add_run(SlotId{static_cast<int32_t>(i)}, 1);
  }
  int64_t num_rows = 0;
  for (const SlotRun& run : runs_) {
    num_rows += run.num_tokens;
    TRY(check_pages(run));
  }
  if (num_rows > options_.limits.tokens_max) {
    return internal_error("the step has " + text(num_rows) + " rows, expected at most " +
                          text(options_.limits.tokens_max));
  }
  return {};
}

void PlanChecker::add_run(SlotId slot, int32_t num_tokens) {
  View& view = views_[slot.value];
  view.has_rows = true;
  runs_.push_back({slot, view.num_read, num_tokens, view.num_read + num_tokens == view.num_known});
}

Result<void> PlanChecker::check_pages(const SlotRun& run) const {
  const View& view = views_[run.slot.value];
  const int32_t end = run.begin + run.num_tokens;
  if (end > options_.limits.positions_max) {
    return internal_error(text(run.slot) + " would read position " + text(end - 1) +
                          ", expected at most " + text(options_.limits.positions_max - 1));
  }
  for (size_t kind = 0; kind < options_.specs.size(); ++kind) {
    const kvcache::KvSpec& spec = options_.specs[kind];
    if (spec.num_layers == 0) continue;
    const std::string held = std::string(", but its ") + kvcache::kv_kind_name(spec.kind) +
                             " pages are the logical pages " + text(view.first_page[kind]) +
                             " to " + text(view.first_page[kind] + view.num_pages[kind]);
    if (view.first_page[kind] > spec.first_live_page(run.begin)) {
      return internal_error(text(run.slot) + " at position " + text(run.begin) +
                            " still reads logical page " + text(spec.first_live_page(run.begin)) +
                            held);
    }
    if (view.first_page[kind] + view.num_pages[kind] < spec.pages_for(end)) {
      return internal_error(text(run.slot) + " writes positions " + text(run.begin) + " to " +
                            text(end) + held);
    }
  }
  return {};
}

}  // namespace mimo::node
