#include "kernels/cuda/product/product_ops.h"

#include <algorithm>
#include <optional>

#include "base/check.h"
#include "kernels/cuda/product/finish.h"
#include "kernels/cuda/product/invariant.h"
#include "kernels/cuda/product/product_state.h"
#include "kernels/cuda/product/qkv_target.h"
#include "kernels/cuda/product/stream.h"
#include "kernels/cuda/product/stream_plan.h"
#include "kernels/cuda/route/expert_plan.h"
#include "kernels/cuda/rows/row_ops.h"

namespace mimo::kernels::cuda {
namespace {

using product::StreamOut;
using product::StreamParams;

constexpr double kOneTile = 1.0;     // of tokens, where the product is not grouped
constexpr int32_t kGroupsMax = 64;   // of 128 columns, that every block of a product quantises
constexpr int32_t kTileRowsMin = 8;  // of the plans that choose_expert_rows() asks for

TileOut tile_out(StreamOut kind) {
  CHECK(kind != StreamOut::kQkv);
  return kind == StreamOut::kF32       ? TileOut::kF32
         : kind == StreamOut::kSiluMul ? TileOut::kSiluMul
                                       : TileOut::kBf16;
}

}  // namespace

StreamParams ProductOps::State::stream_params(const ProductInput& x, const DeviceMatrix& w) const {
  const bool ready = w.dtype == DType::kF8E4m3 && x.q != nullptr;
  StreamParams out;
  out.x = ready ? x.q : x.values;
  out.x_scales = ready ? x.q_scales : nullptr;
  out.w = w;
  return out;
}

ProductInput ProductOps::State::quantised(const ProductInput& x, const DeviceMatrix& w,
                                          int32_t num_rows) {
  if (w.dtype != DType::kF8E4m3 || x.q != nullptr) return x;
  CHECK_LE(int64_t{num_rows} * w.cols, q_max);
  CHECK_LE(int64_t{num_rows} * w.scale_cols, q_scales_max);
  quantise({.x = x.values, .cols = w.cols, .num_rows = num_rows, .q = q, .q_scales = q_scales},
           context.stream());
  return {.values = x.values, .q = q, .q_scales = q_scales};
}

// False: heads that are not rotated so, and nothing was done.
bool ProductOps::State::invariant(const ProductInput& x, const DeviceMatrix& w, StreamOut kind,
                                  void* out, const product::QkvTarget& target, int32_t num_tokens) {
  StreamParams params = stream_params(w.cols % 16 == 0 ? quantised(x, w, num_tokens) : x, w);
  params.out_kind = kind;
  params.out = out;
  params.num_tokens = num_tokens;
  params.target = target;
  return product::invariant_product(params, context, *swap, *resident, *slab, *chain);
}

void ProductOps::State::dense(const ProductInput& x, const DeviceMatrix& w, StreamOut kind,
                              void* out, int32_t num_tokens) {
  if (product::is_invariant_decode(context, num_tokens)) {
    CHECK(invariant(x, w, kind, out, {}, num_tokens));
    return;
  }
  const auto held = resident->choose(w, kind, nullptr, num_tokens);
  const auto slabs = slab->choose(w, kind, nullptr, num_tokens);
  const int32_t token_rows = product::swap_token_rows(num_tokens);
  const auto swapped = swap->choose(w, kind, nullptr, token_rows, kOneTile);
  const auto shape = product::choose_dense(w.dtype, w.cols, num_tokens, context.shared_bytes_max());
  if (held.has_value() || slabs.has_value() || swapped.has_value() || shape.has_value()) {
    // Every block quantises what it reads anew, which is dearer than a kernel of its own for more
    // than a few groups.
    const bool apart = held.has_value() || slabs.has_value() ||
                       (num_tokens * w.scale_cols > kGroupsMax && w.cols % 16 == 0);
    StreamParams params = stream_params(apart ? quantised(x, w, num_tokens) : x, w);
    params.out_kind = kind;
    params.out = out;
    params.num_tokens = num_tokens;
    if (held.has_value()) return resident->run(params, *held);
    if (slabs.has_value()) return slab->run(params, *slabs);
    if (swapped.has_value()) return swap->run(params, *swapped);
    params.shape = *shape;
    return product::stream(params, context);
  }
  const ProductInput in = quantised(x, w, num_tokens);
  const bool fp8 = w.dtype == DType::kF8E4m3;
  TileGemmParams params;
  params.a = fp8 ? in.q : in.values;
  params.a_scales = fp8 ? in.q_scales : nullptr;
  params.w = w;
  params.out = out;
  params.out_kind = tile_out(kind);
  params.num_rows = num_tokens;
  tile.run(params);
}

ProductOps::ProductOps(DeviceContext& context)
    : context_(context), state_(std::make_unique<State>(context)) {}

ProductOps::~ProductOps() = default;

void ProductOps::share_plans(ExpertPlans* plans) { state_->plans = plans; }

Result<void> ProductOps::prepare(const StepLimits& limits) {
  State& s = *state_;
  const int64_t tokens = limits.tokens_max;
  const int64_t pairs = limits.expert_cols_max > 0 ? tokens * limits.experts_per_token : 0;
  const auto blocks = [](int64_t cols) { return (cols + 127) / 128; };
  const int64_t input_cols = std::max(limits.hidden, limits.attention_cols_max);
  const int64_t middle = std::max(tokens * limits.dense_cols_max, pairs * limits.expert_cols_max);
  s.limits = limits;
  s.q_max = std::max(tokens * input_cols, middle);
  s.q_scales_max = std::max({tokens * blocks(input_cols), tokens * blocks(limits.dense_cols_max),
                             pairs * blocks(limits.expert_cols_max)});
  constexpr Purpose kPurpose = Purpose::kWorkspace;
  TRY_ASSIGN(s.wide, context_.allocate_array<float>(tokens * limits.qkv_cols_max, kPurpose));
  TRY_ASSIGN(s.q, context_.allocate_array<uint8_t>(s.q_max, kPurpose));
  TRY_ASSIGN(s.q_scales, context_.allocate_array<float>(s.q_scales_max, kPurpose));
  if (middle > 0) {
    TRY_ASSIGN(s.middle, context_.allocate_array<uint16_t>(middle, kPurpose));
  }
  if (pairs > 0) {
    const int32_t tiles_max = expert_tiles_max(pairs, limits.num_local_experts, kTileRowsMin);
    TRY_ASSIGN(s.expert_out, context_.allocate_array<uint16_t>(pairs * limits.hidden, kPurpose));
    TRY_ASSIGN(s.plan.offsets,
               context_.allocate_array<int32_t>(limits.num_local_experts + 1, kPurpose));
    TRY_ASSIGN(s.plan.pairs, context_.allocate_array<int32_t>(pairs, kPurpose));
    TRY_ASSIGN(s.plan.row_of, context_.allocate_array<int32_t>(pairs, kPurpose));
    TRY_ASSIGN(s.plan.tiles, context_.allocate_array<int4>(tiles_max, kPurpose));
    TRY_ASSIGN(s.plan.num_tiles, context_.allocate_array<int32_t>(1, kPurpose));
  }
  product::prepare_stream(context_);
  TRY_ASSIGN(s.swap, product::SwapStream::create(context_));
  TRY_ASSIGN(s.resident, product::ResidentStream::create(context_, *s.swap));
  TRY_ASSIGN(s.slab, product::SlabStream::create(context_, *s.swap));
  TRY_ASSIGN(s.chain, product::ChainStream::create(context_));
  TRY_ASSIGN(s.few, product::ExpertsFew::create(context_, limits.hidden));
  return s.tile.prepare(limits);
}

bool ProductOps::folds_norm(const QkvParams& p) const {
  const DeviceMatrix& w = context_.matrix(p.qkv);
  const product::QkvTarget target = product::qkv_target(p);
  return p.x.q != nullptr && state_->resident->folds_norm(w, target, p.runs.num_tokens);
}

void ProductOps::qkv(const QkvParams& p, const AddNormParams* norm) {
  State& s = *state_;
  const DeviceMatrix& w = context_.matrix(p.qkv);
  const int32_t num_tokens = p.runs.num_tokens;
  CHECK_EQ(w.rows, p.num_q_heads * p.kv.k_dim + p.kv.kv_heads * (p.kv.k_dim + p.kv.v_dim));
  CHECK_EQ(w.cols, p.x.cols);
  if (num_tokens == 0) return;
  const product::QkvTarget target = product::qkv_target(p);
  const ProductInput x = {p.x.values, p.x.q, p.x.q_scales};
  if (norm == nullptr && product::is_invariant_decode(context_, num_tokens) &&
      s.invariant(x, w, StreamOut::kQkv, nullptr, target, num_tokens)) {
    return;
  }
  const auto slab = s.slab->choose(w, StreamOut::kQkv, &target, num_tokens);
  if (slab.has_value()) {
    StreamParams params = s.stream_params(s.quantised(x, w, num_tokens), w);
    params.out_kind = StreamOut::kQkv;
    params.num_tokens = num_tokens;
    params.target = target;
    return s.slab->run(params, *slab);
  }
  const bool ready = x.q != nullptr || w.dtype != DType::kF8E4m3;
  const auto held =
      ready ? s.resident->choose(w, StreamOut::kQkv, &target, num_tokens) : std::nullopt;
  CHECK(norm == nullptr || held.has_value());
  const auto params_of = [&](const ProductInput& rows) {
    StreamParams out = s.stream_params(rows, w);
    out.out_kind = StreamOut::kQkv;
    out.num_tokens = num_tokens;
    out.target = target;
    return out;
  };
  if (held.has_value()) return s.resident->run(params_of(x), *held, norm);
  const auto swapped =
      s.swap->choose(w, StreamOut::kQkv, &target, product::swap_token_rows(num_tokens), kOneTile);
  const auto shape =
      product::choose_dense(w.dtype, w.cols, num_tokens, context_.shared_bytes_max());
  if (swapped.has_value() || (shape.has_value() && product::rotates_in_place(target))) {
    StreamParams params = params_of(x);
    if (swapped.has_value()) return s.swap->run(params, *swapped);
    params.shape = *shape;
    return product::stream(params, context_);
  }
  CHECK_LE(num_tokens, s.limits.tokens_max);
  CHECK_LE(w.rows, s.limits.qkv_cols_max);
  s.dense(x, w, StreamOut::kF32, s.wide, num_tokens);
  product::finish_qkv(s.wide, num_tokens, target, context_.stream());
}

void ProductOps::linear(const LinearParams& p) {
  if (p.num_tokens == 0) return;
  state_->dense({.values = p.x}, context_.matrix(p.w),
                p.out_f32 ? StreamOut::kF32 : StreamOut::kBf16, p.out, p.num_tokens);
}

void ProductOps::dense_ffn(const DenseFfnParams& p) {
  State& s = *state_;
  const DeviceMatrix& gate_up = context_.matrix(p.gate_up);
  const DeviceMatrix& down = context_.matrix(p.down);
  CHECK_EQ(gate_up.rows, 2 * down.cols);
  CHECK_EQ(gate_up.cols, p.x.cols);
  CHECK_LE(p.num_tokens, s.limits.tokens_max);
  CHECK_LE(down.cols, s.limits.dense_cols_max);
  if (p.num_tokens == 0) return;
  s.dense({p.x.values, p.x.q, p.x.q_scales}, gate_up, StreamOut::kSiluMul, s.middle, p.num_tokens);
  s.dense({.values = s.middle}, down, StreamOut::kBf16, p.out, p.num_tokens);
}

void ProductOps::experts(const ExpertsParams& p) {
  State& s = *state_;
  if (p.num_tokens == 0) return;
  const DeviceMatrix& gate_up = context_.stack(p.experts->gate_up);
  const DeviceMatrix& down = context_.stack(p.experts->down);
  CHECK_EQ(gate_up.rows, 2 * down.cols);
  CHECK_EQ(gate_up.cols, p.x.cols);
  CHECK_EQ(gate_up.count, down.count);
  const bool invariant = context_.options().batch_invariant;
  const bool decode = product::is_invariant_decode(context_, p.num_tokens);
  const bool few = !invariant || product::few_adds_as_swap(gate_up, down);
  if (few && product::experts_few_pays(p.num_tokens) && s.few->refusal(p) == nullptr) {
    CHECK_LE(p.num_tokens, s.limits.tokens_max);
    CHECK_LE(p.experts_per_token, s.limits.experts_per_token);
    CHECK_LE(down.cols, s.limits.expert_cols_max);
    return s.few->run(p);
  }
  if ((invariant && !decode) || !s.swap_experts(p)) {
    const int32_t tile_rows =
        product::choose_expert_rows({.gate_up_dtype = gate_up.dtype,
                                     .down_dtype = down.dtype,
                                     .hidden = gate_up.cols,
                                     .columns = down.cols,
                                     .num_pairs = int64_t{p.num_tokens} * p.experts_per_token,
                                     .num_experts = std::max(s.limits.num_experts, gate_up.count),
                                     .batch_invariant = invariant,
                                     .decode = decode},
                                    context_.shared_bytes_max());
    if (tile_rows > 0) {
      s.stream_experts(p, tile_rows);
    } else {
      s.tile_experts(p);
    }
  }
  product::combine({.y = s.expert_out,
                    .row_of = s.plan.row_of,
                    .weights = p.expert_weights,
                    .out = p.out,
                    .num_tokens = p.num_tokens,
                    .experts_per_token = p.experts_per_token,
                    .hidden = p.x.cols},
                   context_.stream());
}

}  // namespace mimo::kernels::cuda
