#include "kernels/cuda/attention/attention_ops.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "base/check.h"
#include "kernels/attention_choice.h"
#include "kernels/cuda/attention/attention_kernel.h"
#include "kernels/cuda/attention/attention_wgmma.h"
#include "kernels/cuda/attention/stream_kernel.h"
#include "kernels/cuda/cuda_check.h"

namespace mimo::kernels::cuda {
namespace {

constexpr double kLog2E = 1.4426950408889634;
constexpr int32_t kStreamCapability = 90;
constexpr int32_t kWgmmaCapability = 90;

int64_t window_bytes_of(const AttentionParams& p) {
  return attention_kernel(p.kv.k_dim, p.kv.v_dim).window_bytes(plan_window(p, 1).row_tiles);
}

// The first that covers these widths: kernels/attention_choice.h lets no others come here.
const StreamKernel& stream_kernel(int32_t k_dim, int32_t v_dim) {
  for (const StreamKernel& kernel : stream_kernels()) {
    if (k_dim <= kernel.k_dim && v_dim <= kernel.v_dim) return kernel;
  }
  check_failed(__FILE__, __LINE__, "a streaming attention kernel covers the widths",
               std::to_string(k_dim) + "/" + std::to_string(v_dim));
}

}  // namespace

std::span<const AttentionKernel> attention_kernels() {
  static const AttentionKernel kernels[] = {attention_kernel_64_64(), attention_kernel_128_128(),
                                            attention_kernel_192_128(), attention_kernel_256_256()};
  return kernels;
}

const AttentionKernel& attention_kernel(int32_t k_dim, int32_t v_dim) {
  for (const AttentionKernel& kernel : attention_kernels()) {
    if (k_dim <= kernel.k_dim && v_dim <= kernel.v_dim) return kernel;
  }
  check_failed(__FILE__, __LINE__, "an attention kernel covers the widths",
               std::to_string(k_dim) + "/" + std::to_string(v_dim));
}

Result<void> AttentionOps::prepare(const StepLimits& limits) {
  const int64_t partials = decode_partials_max(context_.num_sms(), tuning_);
  const int64_t rows = partials * kDecodeTileRows;
  TRY_ASSIGN(partial_sums_,
             context_.allocate_array<float>(rows * limits.v_dim_max, Purpose::kWorkspace));
  TRY_ASSIGN(partial_stats_, context_.allocate_array<float>(rows * 2, Purpose::kWorkspace));
  TRY_ASSIGN(arrivals_, context_.allocate_array<int32_t>(partials, Purpose::kWorkspace));
  v_dim_max_ = limits.v_dim_max;
  if (context_.capability() >= kStreamCapability) {
    TRY_ASSIGN(maps_, TensorMaps::create());
    for (const StreamKernel& kernel : stream_kernels()) kernel.allow_shared();
    TRY(prepare_parts(limits.v_dim_max));
  }
  if (context_.capability() == kWgmmaCapability) allow_wgmma_prompt();
  for (const AttentionKernel& kernel : attention_kernels()) {
    kernel.allow_shared(context_.shared_bytes_max());
  }
  return {};
}

Result<void> AttentionOps::prepare_parts(int32_t v_dim_max) {
  const int64_t rows = stream_parts_max(context_.num_sms()) * kDecodeTileRows;
  const auto all_bits_set = [this](int64_t count) -> Result<float*> {
    TRY_ASSIGN(float* const out, context_.allocate_array<float>(count, Purpose::kWorkspace));
    CUDA_CHECK(
        cudaMemsetAsync(out, 0xff, static_cast<size_t>(count) * sizeof *out, context_.stream()));
    return out;
  };
  TRY_ASSIGN(part_sums_, all_bits_set(rows * v_dim_max));
  TRY_ASSIGN(part_stats_, all_bits_set(rows * kMergeParts * 2));
  return {};
}

std::string AttentionOps::check(const AttentionParams& p) const {
  CHECK(arrivals_ != nullptr);
  CHECK(p.kv.kv_heads > 0 && p.num_q_heads % p.kv.kv_heads == 0);
  const std::string wish =
      *tuning_.wish != '\0' ? tuning_.wish : measured_wish(p, context_.capability());
  const Result<AttentionChoice> choice = choose_attention({.k_dim = p.kv.k_dim,
                                                           .v_dim = p.kv.v_dim,
                                                           .group = p.num_q_heads / p.kv.kv_heads,
                                                           .sinks = p.sinks != nullptr,
                                                           .window = p.window,
                                                           .k_dtype = p.kv.k_dtype,
                                                           .v_dtype = p.kv.v_dtype,
                                                           .page_tokens = p.kv.page_tokens,
                                                           .capability = context_.capability(),
                                                           .wish = wish});
  if (!choice.ok()) {
    check_failed(__FILE__, __LINE__, "an attention kernel for this layer",
                 choice.error().to_string());
  }
  CHECK_LE(p.kv.v_dim, v_dim_max_);
  CHECK(p.kv.stride > 0);
  CHECK(p.scale > 0);
  CHECK(p.runs.rows_per_run_max > 0);
  CHECK_LE(p.runs.num_runs, 65535);
  return choice.value().kernel;
}

AttentionArgs AttentionOps::arguments(const AttentionParams& p) const {
  AttentionArgs out = {};
  out.q = static_cast<const uint16_t*>(p.q);
  out.k = static_cast<const uint16_t*>(p.kv.k);
  out.v = static_cast<const uint16_t*>(p.kv.v);
  out.out = static_cast<uint16_t*>(p.out);
  out.sinks = p.sinks;
  out.row_begin = p.runs.row_begin;
  out.context = p.runs.context;
  out.slot = p.runs.slot;
  out.pages = p.kv.pages;
  out.num_runs = p.runs.num_runs;
  out.kv_heads = p.kv.kv_heads;
  out.group = p.num_q_heads / p.kv.kv_heads;
  out.k_dim = p.kv.k_dim;
  out.v_dim = p.kv.v_dim;
  out.page_shift = std::countr_zero(static_cast<uint32_t>(p.kv.page_tokens));
  out.stride = p.kv.stride;
  out.window = p.window;
  out.scale_log2 = static_cast<float>(p.scale * kLog2E);
  out.partial_sums = partial_sums_;
  out.partial_stats = partial_stats_;
  out.arrivals = arrivals_;
  out.part_sums = part_sums_;
  out.part_stats = part_stats_;
  return out;
}

void AttentionOps::attention(const AttentionParams& p) {
  if (p.runs.num_tokens == 0 || p.runs.num_runs == 0) return;
  const std::string kernel = check(p);
  const AttentionArgs args = arguments(p);
  if (takes_window(p) && window_bytes_of(p) <= context_.shared_bytes_max()) {
    decode_window(p, args);
  } else if (kernel == "mma_sync" || tuning_.batch_invariant) {
    decode(p, args);
  } else {
    CHECK(kernel == "tma" || kernel == "wgmma_sm90");
    decode_streamed(p, args);
  }
  if (p.runs.rows_per_run_max > kDecodeRowsMax) prompts(p, kernel, args);
}

void AttentionOps::prompts(const AttentionParams& p, const std::string& kernel,
                           AttentionArgs args) {
  const dim3 grid(static_cast<unsigned>(prompt_tiles_max(p)), static_cast<unsigned>(p.kv.kv_heads));
  if (kernel == "wgmma_sm90") {
    CHECK_LE(wgmma_prompt_shared_bytes(), context_.shared_bytes_max());
    args.box_rows = box_rows_of(p);
    launch_wgmma_prompt(args, pool_map(p.kv.k, 2 * p.kv.k_dim, args.box_rows, 0),
                        pool_map(p.kv.v, 2 * p.kv.v_dim, args.box_rows, 0), grid,
                        context_.stream());
    return;
  }
  const AttentionKernel& portable = attention_kernel(p.kv.k_dim, p.kv.v_dim);
  CHECK_LE(portable.prompt_bytes, context_.shared_bytes_max());
  portable.prompt(args, grid, context_.stream());
}

void AttentionOps::decode(const AttentionParams& p, AttentionArgs args) {
  const AttentionKernel& kernel = attention_kernel(p.kv.k_dim, p.kv.v_dim);
  const DecodePlan plan = plan_decode(p, context_.num_sms(), tuning_);
  args.splits_max = plan.splits_max;
  args.split_min = plan.split_min;
  CHECK_LE(kernel.decode_bytes, context_.shared_bytes_max());
  // The ring's depth changes no order of sums.
  const bool deep_ring = plan.deep_ring && kernel.deep_decode_bytes <= context_.shared_bytes_max();
  CHECK(plan.runs_a_launch >= p.runs.num_runs || p.runs.slot != nullptr);
  for (int32_t first = 0; first < p.runs.num_runs; first += plan.runs_a_launch) {
    const int32_t count = std::min(plan.runs_a_launch, p.runs.num_runs - first);
    kernel.decode(args,
                  {static_cast<unsigned>(plan.splits_max),
                   static_cast<unsigned>(plan.tiles * p.kv.kv_heads), static_cast<unsigned>(count)},
                  deep_ring, context_.stream());
    args.row_begin += count;
    args.context += count;
    if (args.slot != nullptr) args.slot += count;
    args.num_runs -= count;
  }
}

void AttentionOps::decode_window(const AttentionParams& p, AttentionArgs args) {
  const AttentionKernel& kernel = attention_kernel(p.kv.k_dim, p.kv.v_dim);
  const WindowPlan plan = plan_window(p, context_.num_sms(), tuning_.batch_invariant);
  args.tiles = plan.tiles;
  kernel.window(args, plan.blocks, plan.row_tiles, plan.one_chain, context_.stream());
}

void AttentionOps::decode_streamed(const AttentionParams& p, AttentionArgs args) {
  const StreamKernel& kernel = stream_kernel(p.kv.k_dim, p.kv.v_dim);
  const StreamPlan plan = plan_stream(p, context_.num_sms(), tuning_);
  args.tiles = plan.tiles;
  args.whole_units = plan.whole_units ? 1 : 0;
  args.unit_cost = plan.unit_cost;
  args.share_min = plan.share_min;
  args.box_rows = plan.box_rows;
  CHECK_LE(kernel.shared_bytes, context_.shared_bytes_max());
  const auto whole = [](int32_t dim) { return dim <= 64 || dim % 64 == 0; };
  args.whole_rows = plan.box_rows == kKeyBlock && whole(p.kv.k_dim) && whole(p.kv.v_dim) ? 1 : 0;
  kernel.launch(
      args, pool_map(p.kv.k, 2 * p.kv.k_dim, plan.box_rows, args.whole_rows * kernel.k_dim / 64),
      pool_map(p.kv.v, 2 * p.kv.v_dim, plan.box_rows, args.whole_rows * kernel.v_dim / 64),
      plan.blocks, context_.stream());
}

const CUtensorMap& AttentionOps::pool_map(const void* pool, int32_t row_bytes, int32_t box_rows,
                                          int32_t slabs) {
  const auto [at, added] = pool_maps_.try_emplace({pool, row_bytes, box_rows, slabs});
  if (added) {
    // How many pages a pool has is not known here; only pages of the tables are asked for.
    constexpr int32_t kRows = std::numeric_limits<int32_t>::max();
    at->second = slabs == 0 ? maps_->rows(pool, kRows, row_bytes, box_rows)
                            : maps_->slabs(pool, kRows, row_bytes, box_rows, slabs);
  }
  return at->second;
}

}  // namespace mimo::kernels::cuda
