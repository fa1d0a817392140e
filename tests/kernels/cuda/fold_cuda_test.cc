#include <algorithm>

#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/route/route_ops.h"
#include "kernels/cuda/rows/held_norm.h"
#include "tests/kernels/cuda/product_support.h"

namespace mimo::kernels::cuda::test {
namespace {

using Bytes = std::vector<uint8_t>;

void append(Bytes& to, DeviceContext& context, const void* from, int64_t bytes) {
  const Bytes more = to_host(context, static_cast<const uint8_t*>(from), bytes);
  to.insert(to.end(), more.begin(), more.end());
}

// A norm whose every output is poisoned; the second row of two or more has a sum of zeros.
struct Norm {
  Norm(DeviceContext& device, int32_t num_tokens, int32_t hidden)
      : context(device), count(int64_t{num_tokens} * hidden) {
    const auto residual = random_floats(count, 3, kDevice, 3.0f);
    auto delta = random_floats(count, 4, kDevice);
    for (int64_t c = hidden; num_tokens > 1 && c < 2 * int64_t{hidden}; ++c) {
      delta[static_cast<size_t>(c)] = -residual[static_cast<size_t>(c)];
    }
    p.residual = device_bf16(context, residual);
    p.delta = device_bf16(context, delta);
    p.weight = device_array(context, random_floats(hidden, 5, CpuMode::kF32));
    p.out = {poisoned_array<uint16_t>(context, count + 8), poisoned_array<uint8_t>(context, count),
             poisoned_array<float>(context, count / 128), hidden};
    p.eps = 1e-5f;
    p.num_tokens = num_tokens;
    p.residual_out = poisoned_array<uint16_t>(context, count + 8);
  }
  // All that it read and left.
  Bytes bytes() const {
    Bytes out;
    append(out, context, p.residual, count * 2);
    append(out, context, p.residual_out, count * 2 + 16);
    append(out, context, p.out.values, count * 2 + 16);
    append(out, context, p.out.q, count);
    append(out, context, p.out.q_scales, count / 128 * 4);
    return out;
  }

  DeviceContext& context;
  int64_t count;
  AddNormParams p;
};

Bytes routed(int32_t hidden, int32_t num_experts, bool folded) {
  const auto context = make_context();
  RowOps rows(*context);
  RouteOps router(*context);
  EXPECT_TRUE(router.prepare({.tokens_max = 1, .num_experts = num_experts}).ok());
  const Norm norm(*context, 1, hidden);
  RouteParams p;
  p.x = norm.p.out.values;
  p.weight =
      device_array(*context, random_floats(int64_t{num_experts} * hidden, 7, CpuMode::kF32, 0.02f));
  p.bias = device_array(*context, random_floats(num_experts, 8, CpuMode::kF32, 0.1f));
  p.hidden = hidden;
  p.num_experts = num_experts;
  p.experts_per_token = 8;
  p.expert_ids = poisoned_array<int32_t>(*context, 8);
  p.expert_weights = poisoned_array<float>(*context, 8);
  p.num_tokens = 1;
  EXPECT_TRUE(router.folds_norm(p));

  for (int i = 0; i < 3; ++i) {
    if (!folded) rows.add_norm(norm.p);
    router.route(p, folded ? &norm.p : nullptr);
  }

  Bytes out = norm.bytes();
  append(out, *context, p.expert_ids, 32);
  append(out, *context, p.expert_weights, 32);
  return out;
}

TEST(FoldedNorm, InTheRouterLeavesTheBitsOfBothKernels) {
  SKIP_WITHOUT_GPU();
  for (const int32_t hidden : {1024, 3072, 4096}) {
    for (const int32_t num_experts : {40, 256}) {
      SCOPED_TRACE(::testing::Message()
                   << "hidden " << hidden << ", " << num_experts << " experts");
      const Bytes want = routed(hidden, num_experts, false);
      const Bytes got = routed(hidden, num_experts, true);
      EXPECT_EQ(std::mismatch(got.begin(), got.end(), want.begin()).first - got.begin(),
                static_cast<int64_t>(want.size()));
    }
  }
}

struct Heads {
  int32_t q;
  int32_t kv;
  int32_t k_dim;
  int32_t v_dim;
  int32_t rows() const { return q * k_dim + kv * (k_dim + v_dim); }
};

// One row at position 4.
QkvParams qkv_params(DeviceContext& context, const Heads& heads, const AddNormParams& norm) {
  constexpr int32_t kPageTokens = 64;
  const std::vector<int32_t> each = {0, 1};
  const std::vector<int32_t> contexts = {5};
  const int64_t cache_rows = int64_t{heads.kv} * kPageTokens;
  QkvParams p;
  p.x = norm.out;
  p.num_q_heads = heads.q;
  p.rotary_dim = 64;
  p.rope_theta = 10000.0;
  p.value_scale = 0.707f;
  p.runs.num_tokens = 1;
  p.runs.num_runs = 1;
  p.runs.row_begin = device_array(context, each);
  p.runs.context = device_array(context, contexts);
  p.runs.row_run = device_array(context, each);
  p.runs.rows_per_run_max = 1;
  p.kv.k = poisoned_array<uint16_t>(context, cache_rows * heads.k_dim);
  p.kv.v = poisoned_array<uint16_t>(context, cache_rows * heads.v_dim);
  p.kv.kv_heads = heads.kv;
  p.kv.k_dim = heads.k_dim;
  p.kv.v_dim = heads.v_dim;
  p.kv.page_tokens = kPageTokens;
  p.kv.pages = device_array(context, each);
  p.kv.stride = 1;
  p.q = poisoned_array<uint16_t>(context, int64_t{heads.q} * heads.k_dim + 8);
  return p;
}

Bytes projected(const Heads& heads, const Weight& weight, bool folded) {
  const auto context = make_context();
  RowOps rows(*context);
  const auto products = product_ops(*context);
  const Norm norm(*context, 1, static_cast<int32_t>(weight.cols));
  QkvParams p = qkv_params(*context, heads, norm.p);
  p.qkv = context->add_matrix(device_weight(*context, weight));
  EXPECT_TRUE(products->folds_norm(p));

  for (int i = 0; i < 3; ++i) {
    if (!folded) rows.add_norm(norm.p);
    products->qkv(p, folded ? &norm.p : nullptr);
  }

  Bytes out = norm.bytes();
  const int64_t cache_bytes = int64_t{heads.kv} * 64 * 2;
  append(out, *context, p.q, int64_t{heads.q} * heads.k_dim * 2 + 16);
  append(out, *context, p.kv.k, cache_bytes * heads.k_dim);
  append(out, *context, p.kv.v, cache_bytes * heads.v_dim);
  return out;
}

TEST(FoldedNorm, InQkvLeavesTheBitsOfBothKernels) {
  SKIP_WITHOUT_GPU();
  if (make_context()->capability() != 90) GTEST_SKIP() << "no SM90";
  constexpr Heads kAll[] = {{16, 2, 192, 128}, {1, 1, 64, 64}};
  for (const Heads& heads : kAll) {
    for (const int32_t hidden : {2048, 4096}) {
      const Weight weight = quick_weight(DType::kF8E4m3, heads.rows(), hidden, 31, 64);
      SCOPED_TRACE(::testing::Message() << heads.q << " heads, hidden " << hidden);
      const Bytes want = projected(heads, weight, false);
      const Bytes got = projected(heads, weight, true);
      EXPECT_EQ(std::mismatch(got.begin(), got.end(), want.begin()).first - got.begin(),
                static_cast<int64_t>(want.size()));
    }
  }
}

// --- Who does a held norm -----------------------------------------------------------------------

struct Reader {
  bool folds_norm(const RouteParams& /*p*/) const { return folds; }
  bool folds;
};

TEST(HeldNorm, IsGivenToItsReaderOnceAndQueuedBeforeAnyOther) {
  SKIP_WITHOUT_GPU();
  const auto context = make_context();
  RowOps rows(*context);
  HeldNorm held(rows);
  const Norm norm(*context, 1, 1024);
  const auto is_done = [&] {
    const auto values = to_host(*context, static_cast<const uint16_t*>(norm.p.residual_out), 1024);
    return std::count(values.begin(), values.end(), 0xffff) == 0;
  };
  RouteParams reads;
  reads.x = norm.p.out.values;
  reads.hidden = 1024;
  reads.num_tokens = 1;

  held.add_norm(norm.p);
  EXPECT_FALSE(is_done());
  const auto given = held.take_for(Reader{true}, reads);
  ASSERT_TRUE(given.has_value());
  EXPECT_EQ(given->residual_out, norm.p.residual_out);
  EXPECT_FALSE(held.take_for(Reader{true}, reads).has_value());
  held.flush();
  EXPECT_FALSE(is_done());

  held.add_norm(norm.p);
  EXPECT_FALSE(held.take_for(Reader{false}, reads).has_value());
  EXPECT_TRUE(is_done());
}

TEST(HeldNorm, IsInPlaceAndLongStepsNeverHeld) {
  SKIP_WITHOUT_GPU();
  const auto context = make_context();
  RowOps rows(*context);
  HeldNorm held(rows);
  for (const bool in_place : {true, false}) {
    Norm norm(*context, in_place ? 1 : kFoldTokensMax + 1, 1024);
    if (in_place) norm.p.residual_out = nullptr;

    held.add_norm(norm.p);

    const auto* const q = norm.p.out.q_scales;
    EXPECT_FALSE(std::isnan(to_host(*context, q, 1)[0])) << "in place: " << in_place;
  }
}

// --- The backend --------------------------------------------------------------------------------

template <typename T>
T* zeros(Ops& ops, int64_t count) {
  return static_cast<T*>(ops.allocate(count * int64_t{sizeof(T)}, Purpose::kWorkspace).value());
}

TEST(FoldedNorm, OfTheBackendIsDoneWhateverComesNext) {
  SKIP_WITHOUT_GPU();
  constexpr int32_t kHidden = 4096;
  const auto ops = make_cuda_ops({}).value();
  ASSERT_TRUE(ops->prepare({.tokens_max = 4, .hidden = kHidden, .num_experts = 256}).ok());
  AddNormParams norm;
  norm.residual = zeros<uint16_t>(*ops, kHidden);
  norm.delta = zeros<uint16_t>(*ops, kHidden);
  norm.weight = ops->random_floats(kHidden, 1.0f, 3).value();
  norm.out = ops->allocate_rows(1, kHidden).value();
  norm.eps = 1e-5f;
  norm.num_tokens = 1;
  RouteParams route;
  route.x = norm.out.values;
  route.weight = ops->random_floats(256 * kHidden, 0.02f, 4).value();
  route.bias = ops->random_floats(256, 0.01f, 5).value();
  route.hidden = kHidden;
  route.num_experts = 256;
  route.experts_per_token = 8;
  route.expert_ids = zeros<int32_t>(*ops, 8);
  route.expert_weights = zeros<float>(*ops, 8);
  route.num_tokens = 1;
  ops->fill_normal_bf16(norm.residual, kHidden, 1.0f, 1);
  ops->fill_normal_bf16(const_cast<void*>(norm.delta), kHidden, 1.0f, 2);
  uint16_t* const copy = zeros<uint16_t>(*ops, kHidden);
  int32_t* const first_row = zeros<int32_t>(*ops, 1);
  const auto values = [&](const void* from) {
    std::vector<uint16_t> out(kHidden);
    ops->download(out.data(), from, kHidden * 2);
    return out;
  };
  const std::vector<uint16_t> nothing(kHidden);
  std::vector<uint16_t> want;
  const auto queue = [&](int kind) -> Result<void> {
    ops->add_norm(norm);
    if (kind == 1) ops->route(route);
    if (kind == 2) ops->gather_rows({norm.out.values, first_row, copy, 1, kHidden});
    if (kind == 3) (void)ops->mark();
    if (kind == 4) (void)ops->stream();
    return {};
  };
  for (const int kind : {0, 1, 2, 3, 4, 5, 6}) {
    SCOPED_TRACE(kind);
    norm.residual_out = zeros<uint16_t>(*ops, kHidden);
    if (kind < 5) {
      ASSERT_TRUE(queue(kind).ok());
    } else {
      // At the end of a record there is nothing that could do it, or its reader has.
      ASSERT_TRUE(ops->recorded(static_cast<uint64_t>(kind), [&] { return queue(kind - 5); }).ok());
    }
    const auto got = values(norm.residual_out);
    EXPECT_NE(got, nothing);
    if (want.empty()) want = got;
    EXPECT_EQ(got, want);
    if (kind == 2) {
      EXPECT_EQ(values(copy), values(norm.out.values));
    }
  }
}

}  // namespace
}  // namespace mimo::kernels::cuda::test
