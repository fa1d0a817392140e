// Every operation of one rank at the released model's shapes, weights cold, beside the peers'
// figures.
//
//   kernel_bench [--tp 4,1,2,8] [--ops qkv,experts,...] [--tokens 1,16] [--contexts 4096]
//                [--out rows.json] [--commit HASH]
#include <cstdio>

#include "base/log.h"
#include "bench/gpu/arguments.h"
#include "bench/gpu/kernel_world.h"

namespace mimo::bench {
namespace {

kernels::StepLimits limits_of(const RankShape& shape) {
  kernels::StepLimits limits;
  limits.tokens_max = 32768;
  limits.runs_max = 256;
  limits.logits_rows_max = 256;
  limits.slots_max = 256;
  limits.hidden = shape.hidden;
  limits.qkv_cols_max = shape.qkv_rows(false);
  limits.attention_cols_max = shape.q_heads() * 128;
  limits.q_heads_max = shape.q_heads();
  limits.v_dim_max = 128;
  limits.dense_cols_max = shape.dense_cols();
  limits.expert_cols_max = shape.expert_cols();
  limits.num_experts = 256;
  limits.experts_per_token = 8;
  limits.num_local_experts = 256;
  limits.vocab_padded = 152576;
  return limits;
}

int run(const Arguments& arguments) {
  Rows all({});
  const std::string out = arguments.text("out", "");
  for (const int32_t tp : arguments.numbers("tp", {4})) {
    auto made = kernels::cuda::make_cuda_ops(
        {.batch_invariant = arguments.number("batch-invariant", 0) != 0});
    if (!made.ok()) {
      std::fprintf(stderr, "%s\n", made.error().to_string().c_str());
      return 1;
    }
    const RankShape shape(tp);
    if (const auto ready = made.value()->prepare(limits_of(shape)); !ready.ok()) {
      std::fprintf(stderr, "%s\n", ready.error().to_string().c_str());
      return 1;
    }
    const std::string gpu = made.value()->info().name;
    KernelWorld world(std::move(made.value()),
                      {{"bench", "kernel"},
                       {"gpu", gpu},
                       {"commit", arguments.text("commit", "unknown")},
                       {"date", today()}},
                      {arguments.text("ops", ""), arguments.numbers("tokens", {}),
                       arguments.numbers("contexts", {})});
    bench_products(world, shape);
    bench_experts(world, shape);
    bench_attention(world, shape);
    bench_rest(world, shape);
    bench_cublas(world, shape);
    all.add_all(world.rows());
  }
  return all.write(out) ? 0 : 1;
}

}  // namespace
}  // namespace mimo::bench

int main(int argc, char** argv) {
  const auto arguments = mimo::bench::Arguments::parse(
      argc, argv, {"tp", "ops", "tokens", "contexts", "batch-invariant", "out", "commit"});
  if (!arguments.has_value()) return 2;
  mimo::log_configure("kernel_bench", mimo::LogLevel::kWarning);
  return mimo::bench::run(*arguments);
}
