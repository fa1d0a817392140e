#include "node/engine/step_plan.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/bytes.h"
#include "base/check.h"
#include "base/hash.h"

namespace mimo::node {
namespace {

// The first byte says what the rest is, and in which version.
constexpr uint8_t kPlanTag = 0xa1;
constexpr uint8_t kReportTag = 0xb1;

// --- Writing ----------------------------------------------------------------

void put(ByteWriter& out, int64_t value) {
  CHECK_GE(value, 0);
  out.varint(static_cast<uint64_t>(value));
}

void put_ids(ByteWriter& out, const std::vector<int32_t>& ids) {
  put(out, static_cast<int64_t>(ids.size()));
  for (const int32_t id : ids) put(out, id);
}

void put_sampling(ByteWriter& out, const kernels::SamplingParams& p) {
  out.fixed(p.temperature);
  out.fixed(p.top_p);
  out.svarint(p.top_k);
  out.fixed(p.min_p);
  out.fixed(p.repetition_penalty);
  out.fixed(p.presence_penalty);
  out.fixed(p.frequency_penalty);
  out.fixed(p.seed);
  out.svarint(p.min_tokens);
  put_ids(out, p.stop_ids);
  put(out, static_cast<int64_t>(p.logit_bias.size()));
  for (const auto& [id, bias] : p.logit_bias) {
    put(out, id);
    out.fixed(bias);
  }
  out.svarint(p.num_logprobs);
  out.varint(p.raw_logits ? 1 : 0);
}

void put_spec(ByteWriter& out, const grammar::Spec& spec) {
  put(out, static_cast<int64_t>(spec.kind));
  if (spec.kind == grammar::Spec::Kind::kNone) return;
  out.text(spec.text);
  put(out, static_cast<int64_t>(spec.choices.size()));
  for (const std::string& choice : spec.choices) out.text(choice);
  out.text(spec.free_until);
}

void put_admission(ByteWriter& out, const Admission& admission) {
  CHECK_LE(admission.num_prompt, static_cast<int64_t>(admission.tokens.size()));
  put(out, admission.slot.value);
  put_sampling(out, admission.sampling);
  put_ids(out, admission.tokens);
  put(out, admission.num_prompt);
  put(out, admission.num_cached);
  out.svarint(admission.num_prompt_logprobs);
  put_spec(out, admission.constraint);
}

// Pages of one grant are mostly neighbours.
void put_grant(ByteWriter& out, const PageGrant& grant) {
  put(out, grant.slot.value);
  put(out, static_cast<int64_t>(grant.kind));
  put(out, static_cast<int64_t>(grant.pages.size()));
  int64_t last = 0;
  for (const PageId page : grant.pages) {
    CHECK_GE(page.value, 0);
    out.svarint(page.value - last);
    last = page.value;
  }
}

// --- Reading ----------------------------------------------------------------

// A reader that also remembers values out of bounds; ends in bad() and zeros.
class Fields {
 public:
  explicit Fields(std::span<const uint8_t> bytes) : reader_(bytes) {}

  int32_t natural() { return static_cast<int32_t>(within(reader_.varint(), kInt32Max)); }
  int64_t natural64() { return static_cast<int64_t>(within(reader_.varint(), kInt64Max)); }
  bool flag() { return within(reader_.varint(), 1) != 0; }
  int32_t integer() {
    const int64_t value = reader_.svarint();
    if (std::in_range<int32_t>(value)) return static_cast<int32_t>(value);
    bad_ = true;
    return 0;
  }
  template <typename T>
  T fixed() {
    return reader_.fixed<T>();
  }
  int64_t svarint() { return reader_.svarint(); }
  std::string text() { return reader_.text(); }
  // Calls read() as often as the count says, while the bytes last.
  template <typename Read>
  void repeat(Read read) {
    const int64_t count = reader_.count();
    for (int64_t i = 0; i < count && good(); ++i) read();
  }
  std::vector<int32_t> ids() {
    std::vector<int32_t> all;
    repeat([&] { all.push_back(natural()); });
    return all;
  }
  void fail() { bad_ = true; }
  bool good() const { return reader_.ok() && !bad_; }
  bool done() const { return reader_.done() && !bad_; }

 private:
  static constexpr uint64_t kInt32Max = std::numeric_limits<int32_t>::max();
  static constexpr uint64_t kInt64Max = std::numeric_limits<int64_t>::max();

  uint64_t within(uint64_t value, uint64_t max) {
    if (value <= max) return value;
    bad_ = true;
    return 0;
  }

  ByteReader reader_;
  bool bad_ = false;
};

SlotId get_slot(Fields& in) { return SlotId{in.natural()}; }
kvcache::KvKind get_kind(Fields& in) {
  return in.flag() ? kvcache::KvKind::kWindow : kvcache::KvKind::kFull;
}

kernels::SamplingParams get_sampling(Fields& in) {
  kernels::SamplingParams p;
  p.temperature = in.fixed<float>();
  p.top_p = in.fixed<float>();
  p.top_k = in.integer();
  p.min_p = in.fixed<float>();
  p.repetition_penalty = in.fixed<float>();
  p.presence_penalty = in.fixed<float>();
  p.frequency_penalty = in.fixed<float>();
  p.seed = in.fixed<uint64_t>();
  p.min_tokens = in.integer();
  p.stop_ids = in.ids();
  in.repeat([&] {
    const int32_t id = in.natural();
    p.logit_bias.emplace_back(id, in.fixed<float>());
  });
  p.num_logprobs = in.integer();
  p.raw_logits = in.flag();
  return p;
}

grammar::Spec get_spec(Fields& in) {
  grammar::Spec spec;
  const int32_t kind = in.natural();
  if (kind > static_cast<int32_t>(grammar::Spec::Kind::kStructuralTag)) in.fail();
  if (kind == 0 || !in.good()) return spec;
  spec.kind = static_cast<grammar::Spec::Kind>(kind);
  spec.text = in.text();
  in.repeat([&] { spec.choices.push_back(in.text()); });
  spec.free_until = in.text();
  return spec;
}

Admission get_admission(Fields& in) {
  Admission admission;
  admission.slot = get_slot(in);
  admission.sampling = get_sampling(in);
  admission.tokens = in.ids();
  admission.num_prompt = in.natural();
  admission.num_cached = in.natural();
  admission.num_prompt_logprobs = in.integer();
  admission.constraint = get_spec(in);
  if (admission.num_prompt > static_cast<int64_t>(admission.tokens.size())) in.fail();
  return admission;
}

PageGrant get_grant(Fields& in) {
  PageGrant grant;
  grant.slot = get_slot(in);
  grant.kind = get_kind(in);
  int64_t last = 0;
  in.repeat([&] {
    const int64_t delta = in.integer();
    last += delta;
    if (!std::in_range<int32_t>(last) || last < 0) in.fail();
    if (in.good()) grant.pages.push_back(PageId{static_cast<int32_t>(last)});
  });
  return grant;
}

StepPlan get_plan(Fields& in) {
  StepPlan plan;
  if (in.fixed<uint8_t>() != kPlanTag) in.fail();
  plan.epoch = Epoch{in.svarint()};
  plan.step = in.natural64();
  in.repeat([&] { plan.releases.push_back(get_slot(in)); });
  in.repeat([&] { plan.admissions.push_back(get_admission(in)); });
  in.repeat([&] {
    const SlotId slot = get_slot(in);
    const kvcache::KvKind kind = get_kind(in);
    plan.returns.push_back({slot, kind, in.natural()});
  });
  in.repeat([&] { plan.grants.push_back(get_grant(in)); });
  in.repeat([&] {
    const SlotId slot = get_slot(in);
    plan.prefills.push_back({slot, in.natural()});
  });
  in.repeat([&] { plan.announced.push_back(get_spec(in)); });
  return plan;
}

StepReport get_report(Fields& in) {
  StepReport report;
  if (in.fixed<uint8_t>() != kReportTag) in.fail();
  report.epoch = Epoch{in.svarint()};
  report.step = in.natural64();
  report.plan_digest = in.fixed<uint64_t>();
  report.result_digest = in.fixed<uint64_t>();
  const int32_t code = in.natural();
  if (code > static_cast<int32_t>(Code::kUnauthenticated)) in.fail();
  report.error = Error{static_cast<Code>(code), in.text()};
  return report;
}

// Each value has one spelling, so what does not come back byte for byte was never written.
template <typename T, typename Encode>
Result<T> accept(T value, const Fields& in, std::span<const uint8_t> bytes, Encode encode,
                 const char* what) {
  const std::string of = std::string(what) + " of " + std::to_string(bytes.size()) + " bytes";
  if (!in.done()) return invalid_argument(of + " is cut short, too long or out of bounds");
  const std::vector<uint8_t> again = encode(value);
  if (!std::equal(again.begin(), again.end(), bytes.begin(), bytes.end()))
    return invalid_argument(of + " is not as its writer spells it");
  return value;
}

}  // namespace

std::vector<uint8_t> encode_plan(const StepPlan& plan) {
  ByteWriter out;
  out.fixed(kPlanTag);
  out.svarint(plan.epoch.value);
  put(out, plan.step);
  put(out, static_cast<int64_t>(plan.releases.size()));
  for (const SlotId slot : plan.releases) put(out, slot.value);
  put(out, static_cast<int64_t>(plan.admissions.size()));
  for (const Admission& admission : plan.admissions) put_admission(out, admission);
  put(out, static_cast<int64_t>(plan.returns.size()));
  for (const PageReturn& change : plan.returns) {
    put(out, change.slot.value);
    put(out, static_cast<int64_t>(change.kind));
    put(out, change.num_pages);
  }
  put(out, static_cast<int64_t>(plan.grants.size()));
  for (const PageGrant& grant : plan.grants) put_grant(out, grant);
  put(out, static_cast<int64_t>(plan.prefills.size()));
  for (const Prefill& prefill : plan.prefills) {
    put(out, prefill.slot.value);
    put(out, prefill.num_tokens);
  }
  put(out, static_cast<int64_t>(plan.announced.size()));
  for (const grammar::Spec& spec : plan.announced) put_spec(out, spec);
  return out.take();
}

Result<StepPlan> decode_plan(std::span<const uint8_t> bytes) {
  Fields in(bytes);
  StepPlan plan = get_plan(in);
  return accept(std::move(plan), in, bytes, encode_plan, "step plan");
}

std::vector<uint8_t> encode_report(const StepReport& report) {
  ByteWriter out;
  out.fixed(kReportTag);
  out.svarint(report.epoch.value);
  put(out, report.step);
  out.fixed(report.plan_digest);
  out.fixed(report.result_digest);
  put(out, static_cast<int64_t>(report.error.code));
  out.text(report.error.message);
  return out.take();
}

Result<StepReport> decode_report(std::span<const uint8_t> bytes) {
  Fields in(bytes);
  StepReport report = get_report(in);
  return accept(std::move(report), in, bytes, encode_report, "step report");
}

uint64_t chain_plan_digest(uint64_t digest, const StepPlan& plan) {
  return hash_combine(digest, hash_bytes(encode_plan(plan)));
}

uint64_t chain_result_digest(uint64_t digest, std::span<const SlotOutput> outputs) {
  for (const SlotOutput& output : outputs) {
    if (!output.drew) continue;
    const auto slot = static_cast<uint64_t>(static_cast<uint32_t>(output.slot.value));
    const auto id = static_cast<uint64_t>(static_cast<uint32_t>(output.choice.id));
    digest = hash_combine(digest, slot << 32 | id);
    if (output.rules_error.code == Code::kOk) continue;
    digest = hash_combine(digest, static_cast<uint64_t>(output.rules_error.code));
  }
  return mix64(digest + 1);
}

}  // namespace mimo::node
