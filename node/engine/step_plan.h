#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/units.h"
#include "grammar/token_rules.h"
#include "kernels/ops.h"
#include "kvcache/kv_spec.h"

namespace mimo::node {

// A sequence takes a slot. Its tokens travel once, here; later plans speak of the slot.
struct Admission {
  SlotId slot;
  kernels::SamplingParams sampling = {};
  std::vector<int32_t> tokens = {};  // prompt, then the outputs a preempted sequence already had
  int32_t num_prompt = 0;            // <= tokens.size()
  // The first so many tokens are not read again: the pages granted in this plan hold their K and V
  // (of a window group those that are still seen). Less than tokens.size().
  int32_t num_cached = 0;
  int32_t num_prompt_logprobs = -1;  // as SamplingParams::num_logprobs, for the prompt's tokens
  grammar::Spec constraint = {};     // what the outputs must be, those in `tokens` counted
};

// The slot reads its next `num_tokens` known tokens. The chunk that reads the last known token
// draws the next one.
struct Prefill {
  SlotId slot;
  int32_t num_tokens = 0;
};

// Pages appended at the end of the slot's table of one layer group.
struct PageGrant {
  SlotId slot;
  kvcache::KvKind kind = kvcache::KvKind::kFull;
  std::vector<PageId> pages = {};
};

// The slot's first `num_pages` pages of the group go back to the pool: they left the window. Done
// before the step's grants.
struct PageReturn {
  SlotId slot;
  kvcache::KvKind kind = kvcache::KvKind::kWindow;
  int32_t num_pages = 0;
};

// What every rank does in one step, as the difference to the step before. In this order: releases
// (a slot and all its pages go), admissions, returns, grants, then one forward pass over the
// prefill rows in the plan's order and, for every other slot whose known tokens are all read but
// the last, one decode row in slot order. In steady decode a plan is a few tens of bytes.
struct StepPlan {
  Epoch epoch;
  int64_t step = 0;  // counts from 0 in an epoch, no gaps
  std::vector<SlotId> releases = {};
  std::vector<Admission> admissions = {};
  std::vector<PageReturn> returns = {};
  std::vector<PageGrant> grants = {};
  std::vector<Prefill> prefills = {};
  // Constraints of admissions that are likely to come: ranks begin to compile them, so that no step
  // waits for that.
  std::vector<grammar::Spec> announced = {};

  bool empty_of_changes() const {
    return releases.empty() && admissions.empty() && returns.empty() && grants.empty() &&
           prefills.empty();
  }
};

std::vector<uint8_t> encode_plan(const StepPlan& plan);
// kInvalidArgument for bytes that encode_plan() did not write; never a crash, never a large
// allocation from a bad count.
Result<StepPlan> decode_plan(std::span<const uint8_t> bytes);

// What one slot got out of a step.
struct SlotOutput {
  SlotId slot;
  bool drew = false;                 // `choice` holds the next token
  kernels::TokenChoice choice = {};  // appended to the slot's known tokens on every rank
  // Why nothing could be drawn under the slot's constraint; kOk: nothing of that kind.
  Error rules_error{Code::kOk, ""};
  // Prompt tokens read in this step, when asked for: entry i speaks of the token at position
  // prompt_begin + i, looked up in the logits of the position before (position 0 has none).
  int32_t prompt_begin = 0;
  std::vector<kernels::TokenChoice> prompt_scores = {};
};

// The same on every rank; ranks compare `digest`.
struct StepResult {
  int64_t step = 0;
  std::vector<SlotOutput> outputs = {};
  int32_t num_tokens = 0;      // rows of the forward pass
  uint64_t plan_digest = 0;    // chain_plan_digest() over all plans of the epoch, from 0
  uint64_t result_digest = 0;  // chain_result_digest() likewise
};

// The digests of the steps so far and of one more: every field of the plan; the slots that drew,
// and what they drew or the code of what hindered them.
uint64_t chain_plan_digest(uint64_t digest, const StepPlan& plan);
uint64_t chain_result_digest(uint64_t digest, std::span<const SlotOutput> outputs);

// What a follower tells the leader after a step, or why it could not do it.
struct StepReport {
  Epoch epoch;
  int64_t step = 0;
  uint64_t plan_digest = 0;
  uint64_t result_digest = 0;
  Error error{Code::kOk, ""};  // kOk: done
};
std::vector<uint8_t> encode_report(const StepReport& report);
Result<StepReport> decode_report(std::span<const uint8_t> bytes);

}  // namespace mimo::node
