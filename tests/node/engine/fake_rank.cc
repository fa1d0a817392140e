#include "tests/node/engine/fake_rank.h"

#include <algorithm>

#include "base/hash.h"
#include "node/engine/page_changes.h"

namespace mimo::node {

using kvcache::KvKind;
using kvcache::KvSpec;

namespace {

Error broken(int32_t slot, const std::string& what) {
  return internal_error("slot " + std::to_string(slot) + ": " + what);
}

bool rules_fail(const Admission& admission, int32_t num_outputs) {
  return admission.constraint.kind != grammar::Spec::Kind::kNone &&
         num_outputs >= std::stoi(admission.constraint.text);
}

}  // namespace

FakeRank::FakeRank(const Options& options)
    : options_(options),
      store_(kvcache::KvStore::create(options.engine.kv()).value()),
      slots_(options.engine.sequences_max) {
  for (const auto& pool : options.engine.kv().pools) {
    cells_[static_cast<size_t>(pool.spec.kind)].resize(int64_t{pool.num_pages} *
                                                       pool.spec.page_tokens);
  }
}

int32_t FakeRank::next_token(uint64_t seed, const std::vector<int32_t>& prefix, int32_t vocab) {
  uint64_t hash = seed;
  for (const int32_t token : prefix) hash = hash_combine(hash, static_cast<uint64_t>(token));
  return static_cast<int32_t>(hash % static_cast<uint64_t>(vocab));
}

bool FakeRank::is_nan(uint64_t seed, int32_t position) {
  return hash_combine(seed, static_cast<uint64_t>(position)) % 150 == 0;
}

int32_t FakeRank::num_active() const {
  return static_cast<int32_t>(
      std::count_if(slots_.begin(), slots_.end(), [](const Slot& slot) { return slot.active; }));
}

int32_t FakeRank::num_outputs(uint64_t seed) const {
  const auto found = num_outputs_.find(seed);
  return found == num_outputs_.end() ? 0 : found->second;
}

Result<void> FakeRank::apply(const StepPlan& plan) {
  if (plan.epoch != options_.engine.epoch || plan.step != next_step_)
    return internal_error("step " + std::to_string(plan.step) + " is not the next one");
  if (num_steps_out() >= options_.steps_in_flight_max)
    return internal_error(std::to_string(num_steps_out()) + " steps are out already");
  ++next_step_;
  TRY(store_->apply(page_changes(plan)));
  plan_digest_ = chain_plan_digest(plan_digest_, plan);
  return change_slots(plan);
}

Result<void> FakeRank::change_slots(const StepPlan& plan) {
  for (const SlotId slot : plan.releases) slots_[slot.value] = Slot{};
  for (const Admission& admission : plan.admissions) {
    const int32_t slot = admission.slot.value;
    for (const int32_t token : admission.tokens) {
      if (token < 0 || token >= options_.engine.vocab) return broken(slot, "has an unknown token");
    }
    slots_[slot] = Slot{true, admission, admission.tokens, 0};
  }
  return {};
}

// The slots that read, in the order of StepPlan.
Result<std::vector<int32_t>> FakeRank::find_rows(const StepPlan& plan,
                                                 std::vector<int32_t>& rows) const {
  std::vector<int32_t> order;
  for (const Prefill& prefill : plan.prefills) {
    if (prefill.num_tokens < 1 || prefill.num_tokens > options_.engine.prefill_chunk_max ||
        rows[prefill.slot.value] != 0)
      return broken(prefill.slot.value, "bad prefill");
    rows[prefill.slot.value] = prefill.num_tokens;
    order.push_back(prefill.slot.value);
  }
  for (size_t i = 0; i < slots_.size(); ++i) {
    const Slot& slot = slots_[i];
    if (!slot.active || rows[i] != 0) continue;
    if (static_cast<int32_t>(slot.tokens.size()) - slot.num_read != 1) continue;
    rows[i] = 1;
    order.push_back(static_cast<int32_t>(i));
  }
  return order;
}

Result<void> FakeRank::start(const StepPlan& plan) {
  TRY(apply(plan));
  std::vector<int32_t> rows(slots_.size(), 0);
  TRY_ASSIGN(const std::vector<int32_t> order, find_rows(plan, rows));
  if (order.empty() && plan.empty_of_changes()) return internal_error("a plan of nothing");
  StepResult result{.step = plan.step};
  rows_.clear();
  for (const int32_t slot : order) {
    TRY(read(slot, rows[slot], result));
    rows_[slots_[slot].admission.sampling.seed] = rows[slot];
    result.num_tokens += rows[slot];
  }
  if (result.num_tokens > options_.engine.batch_tokens_max)
    return internal_error(std::to_string(result.num_tokens) + " rows are too many");
  result_digest_ = chain_result_digest(result_digest_, result.outputs);
  result.plan_digest = plan_digest_;
  result.result_digest = result_digest_;
  out_.push_back(std::move(result));
  return {};
}

Result<StepResult> FakeRank::finish() {
  if (out_.empty()) return internal_error("no step is out");
  StepResult result = std::move(out_.front());
  out_.pop_front();
  return result;
}

// The slot holds exactly the pages that its rows read or write.
Result<void> FakeRank::check_table(int32_t slot, int32_t num_rows, const KvSpec& spec) const {
  const auto table = store_->page_table(SlotId{slot}, spec.kind);
  const int32_t read = slots_[slot].num_read;
  const int32_t first = spec.window == 0 ? 0 : std::max(0, read - spec.window + 1);
  const int32_t first_page = first / spec.page_tokens;
  const int32_t last_page = (read + num_rows - 1) / spec.page_tokens;
  const auto held = static_cast<int32_t>(table.pages.size());
  if (table.first_page == first_page && held == last_page - first_page + 1) return {};
  return broken(slot, "holds pages " + std::to_string(table.first_page) + " + " +
                          std::to_string(held) + ", needs " + std::to_string(first_page) + " to " +
                          std::to_string(last_page));
}

FakeRank::Cell& FakeRank::cell(int32_t slot, int32_t position, const KvSpec& spec) {
  const auto table = store_->page_table(SlotId{slot}, spec.kind);
  const PageId page = table.pages[position / spec.page_tokens - table.first_page];
  return cells_[static_cast<size_t>(spec.kind)]
               [int64_t{page.value} * spec.page_tokens + position % spec.page_tokens];
}

Result<void> FakeRank::write_and_read_back(int32_t slot, int32_t num_rows, const KvSpec& spec) {
  const Slot& s = slots_[slot];
  const uint64_t seed = s.admission.sampling.seed;
  for (int32_t p = s.num_read; p < s.num_read + num_rows; ++p) {
    cell(slot, p, spec) = Cell{seed, p, s.tokens[p]};
  }
  const int32_t first = spec.window == 0 ? 0 : std::max(0, s.num_read - spec.window + 1);
  for (int32_t p = first; p < s.num_read + num_rows; ++p) {
    if (cell(slot, p, spec) != Cell{seed, p, s.tokens[p]})
      return broken(slot, std::string(kv_kind_name(spec.kind)) + " key " + std::to_string(p) +
                              " is somebody else's");
  }
  return {};
}

void FakeRank::score_prompt(const Slot& slot, int32_t num_rows, SlotOutput& output) const {
  if (slot.admission.num_prompt_logprobs == -1) return;
  output.prompt_begin = slot.num_read + 1;
  const int32_t end = std::min(slot.num_read + num_rows + 1, slot.admission.num_prompt);
  for (int32_t p = output.prompt_begin; p < end; ++p) {
    kernels::TokenChoice& score = output.prompt_scores.emplace_back();
    score.id = slot.tokens[p];
  }
}

Result<void> FakeRank::read(int32_t slot, int32_t num_rows, StepResult& result) {
  Slot& s = slots_[slot];
  const auto num_known = static_cast<int32_t>(s.tokens.size());
  if (!s.active || s.num_read + num_rows > num_known) return broken(slot, "nothing to read");
  for (const auto& pool : options_.engine.kv().pools) {
    TRY(check_table(slot, num_rows, pool.spec));
    TRY(write_and_read_back(slot, num_rows, pool.spec));
  }
  SlotOutput output{.slot = SlotId{slot}};
  score_prompt(s, num_rows, output);
  s.num_read += num_rows;
  if (s.num_read == num_known) {
    const uint64_t seed = s.admission.sampling.seed;
    output.drew = true;
    output.choice.finite = !(options_.with_nan && is_nan(seed, s.num_read - 1));
    if (rules_fail(s.admission, num_known - s.admission.num_prompt)) {
      output.choice.finite = false;
      output.rules_error = internal_error("no way on");
    }
    output.choice.id =
        output.choice.finite ? next_token(seed, s.tokens, options_.engine.vocab) : -1;
    s.tokens.push_back(output.choice.id);
    const auto num_tokens = static_cast<int32_t>(s.tokens.size());
    if (num_tokens > options_.engine.positions_max) return broken(slot, "draws for no position");
    int32_t& num_outputs = num_outputs_[seed];
    num_outputs = std::max(num_outputs, num_tokens - s.admission.num_prompt);
  }
  result.outputs.push_back(std::move(output));
  return {};
}

}  // namespace mimo::node
