#include "node/model/token_masks.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "base/check.h"

namespace mimo::node {
namespace {

// Below so many masks no thread is woken: one takes some tens of microseconds, as a wake-up does.
constexpr int32_t kMasksAlone = 4;
// Says to the pool that the work is worth its threads.
constexpr int64_t kMaskCost = 1'000'000;

}  // namespace

TokenMasks::TokenMasks(kernels::Ops& ops, const Options& options)
    : ops_(ops),
      options_(options),
      words_(grammar::mask_words(options.vocab_limit)),
      slots_(static_cast<size_t>(options.num_slots)) {}

Result<std::unique_ptr<TokenMasks>> TokenMasks::create(kernels::Ops& ops, const Options& options,
                                                       int64_t bytes) {
  std::unique_ptr<TokenMasks> masks(new TokenMasks(ops, options));
  CHECK_GE(bytes, options.num_slots * masks->words_ * int64_t{sizeof(uint32_t)});
  TRY_ASSIGN(void* const memory, ops.allocate(bytes, kernels::Purpose::kWorkspace));
  masks->device_ = static_cast<uint32_t*>(memory);
  if (!masks->has_source()) return masks;
  for (int32_t i = 0; i < options.num_copies; ++i) {
    TRY_ASSIGN(void* const host, ops.allocate_host(bytes));
    masks->copies_.push_back({static_cast<uint32_t*>(host), {}});
  }
  return masks;
}

void TokenMasks::announce(const grammar::Spec& spec) {
  if (has_source()) (void)options_.source->start(spec);
}

void TokenMasks::admit(SlotId slot, const grammar::Spec& spec, std::span<const int32_t> outputs) {
  if (spec.kind == grammar::Spec::Kind::kNone) return;
  CHECK(has_source());
  Slot& held = slots_[slot.value];
  CHECK_EQ(held.tenant, -1);
  held.tenant = num_tenants_++;
  held.rules = options_.source->start(spec);
  held.unheard.assign(outputs.begin(), outputs.end());
}

void TokenMasks::release(SlotId slot) { slots_[slot.value] = {}; }

void TokenMasks::drew(SlotId slot, int64_t tenant, int32_t token) {
  Slot& held = slots_[slot.value];
  if (held.tenant == tenant) held.unheard.push_back(token);
}

const uint32_t* TokenMasks::fill(std::span<const SlotId> slots, int32_t copy,
                                 std::vector<Error>& errors) {
  Copy& to = copies_.at(static_cast<size_t>(copy));
  CHECK(to.sent.count == 0 || ops_.done(to.sent));
  const auto begin = std::chrono::steady_clock::now();
  const auto count = static_cast<int32_t>(slots.size());
  CHECK_LE(count, options_.num_slots);
  errors.assign(slots.size(), Error{Code::kOk, ""});
  const auto fill_row = [&](int64_t i) {
    const std::span<uint32_t> mask(to.host + i * words_, static_cast<size_t>(words_));
    Slot& slot = slots_[slots[i].value];
    const auto filled = fill_one(slot, mask);
    if (filled.ok()) return;
    slot.error = errors[i] = filled.error();
    std::fill(mask.begin(), mask.end(), 0u);
  };
  if (pool_ == nullptr && count > kMasksAlone && options_.threads_max > 1) {
    pool_ = std::make_unique<kernels::ThreadPool>(options_.threads_max);
  }
  if (pool_ != nullptr) {
    pool_->run(count, count > kMasksAlone ? kMaskCost : 0, fill_row);
  } else {
    for (int32_t i = 0; i < count; ++i) fill_row(i);
  }
  report_.num_masks += count;
  report_.duration_ns += std::chrono::nanoseconds(std::chrono::steady_clock::now() - begin).count();
  ops_.upload_later(device_, to.host, count * words_ * int64_t{sizeof(uint32_t)});
  return device_;
}

Result<void> TokenMasks::fill_one(Slot& slot, std::span<uint32_t> mask) {
  CHECK(slot.rules != nullptr);
  if (slot.error.code != Code::kOk) return slot.error;
  for (const int32_t token : std::exchange(slot.unheard, {})) {
    const auto heard = slot.rules->accept(token);
    // Nothing is drawn that a mask has not allowed, so this is no mistake of the request's.
    if (!heard.ok()) {
      return internal_error("the constraint refuses the drawn token " + std::to_string(token) +
                            ": " + heard.error().message);
    }
  }
  TRY(slot.rules->fill(mask));
  const bool any = std::any_of(mask.begin(), mask.end(), [](uint32_t word) { return word != 0; });
  if (!any) return internal_error("the constraint leaves no token to draw");
  return {};
}

}  // namespace mimo::node
