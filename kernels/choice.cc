#include "base/check.h"
#include "kernels/cpu/select.h"
#include "kernels/sampling.h"

namespace mimo::kernels {

bool wants_full(int32_t num_logprobs) {
  return num_logprobs == kAllLogprobs || num_logprobs > kTopLogprobsMax;
}

TokenChoice make_choice(const DrawResult& result, int32_t num_logprobs,
                        std::span<const TokenLogprob> top, std::span<const float> full) {
  TokenChoice out;
  out.id = result.id;
  out.finite = result.finite != 0;
  if (num_logprobs == -1 || !out.finite) return out;
  out.logprob = result.logprob;
  out.rank = result.rank;
  if (!wants_full(num_logprobs)) {
    CHECK_LE(num_logprobs, static_cast<int32_t>(top.size()));
    out.top.assign(top.begin(), top.begin() + num_logprobs);
    return out;
  }
  CHECK(!full.empty());
  if (num_logprobs != kAllLogprobs) {
    out.top = best(full, num_logprobs);
    return out;
  }
  out.top.reserve(full.size());
  for (size_t i = 0; i < full.size(); ++i) {
    out.top.push_back({static_cast<int32_t>(i), full[i]});
  }
  return out;
}

}  // namespace mimo::kernels
