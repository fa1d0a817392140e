// Whole steps of the released model with random weights: one rank of a cut on one GPU without its
// collectives, or real ranks over several GPUs.
//
//   step_bench [--rank-of 4 | --tp 2] [--layers N] [--batch 1,16,64,256] [--context 4096]
//              [--prefill 8192] [--steps 20] [--trace 1] [--record 1] [--batch-invariant 0] [--out
//              rows.json]
//              [--commit HASH]
#include <cstdio>

#include "base/log.h"
#include "bench/gpu/arguments.h"
#include "bench/gpu/graph_timer.h"
#include "bench/gpu/kernel_trace.h"
#include "bench/gpu/rows.h"
#include "bench/gpu/step_ranks.h"
#include "bench/gpu/step_report.h"
#include "bench/gpu/step_world.h"

namespace mimo::bench {
namespace {

class StepBench {
 public:
  StepBench(const Arguments& arguments, StepWorld& world, const std::string& cut)
      : arguments_(arguments),
        world_(world),
        cut_(cut),
        rows_({{"bench", "step"},
               {"gpu", std::string(world.ops().info().name)},
               {"commit", arguments.text("commit", "unknown")},
               {"date", today()},
               {cut, world.options().tp},
               {"layers", world.config().num_layers}}),
        says_(world.options().rank == 0) {}

  Result<void> run() {
    if (arguments_.number("trace", 1) != 0) {
      auto trace = KernelTrace::open();
      if (trace.ok()) {
        trace_ = std::move(trace.value());
      } else if (says_) {
        std::printf("no table of layers: %s\n", trace.error().to_string().c_str());
      }
    }
    for (const int32_t context : arguments_.numbers("context", {4096})) {
      for (const int32_t batch : arguments_.numbers("batch", {1, 16, 64, 256})) {
        TRY(decode(batch, context));
      }
    }
    for (const int32_t num_tokens : arguments_.numbers("prefill", {8192})) {
      if (num_tokens > 0) TRY(prefill(num_tokens));
    }
    if (says_ && !rows_.write(arguments_.text("out", ""))) return unavailable("--out: not written");
    return {};
  }

 private:
  Result<void> decode(int32_t batch, int32_t context) {
    TRY(world_.admit(batch, context));
    TRY_ASSIGN(const double ms, world_.decode_ms(arguments_.number("steps", 20)));
    const double bytes = step_bytes(world_.config(), world_.shard(), batch, context);
    const double share = bytes / kRoofBytesPerSecond / (ms * 1e-3);
    if (says_) {
      std::printf(
          "decode  batch %4d  context %6d  %8.3f ms  %6.2f GB  %5.1f%% of roof  %8.0f tok/s\n",
          batch, context, ms, bytes * 1e-9, share * 100, batch / ms * 1e3);
    }
    rows_.add({{"batch", batch},
               {"context", context},
               {"step_ms", ms},
               {"bytes", bytes},
               {"share_of_roof", share},
               {"tokens_per_s", batch / ms * 1e3}});
    if (trace_ != nullptr) TRY(trace_decode(batch, context));
    return world_.release_all();
  }

  // One more step under the tracer; its own time is longer, its parts tell where the time goes.
  Result<void> trace_decode(int32_t batch, int32_t context) {
    TRY(trace_->begin());
    const auto stepped = world_.decode_ms(1, 0);
    TRY_ASSIGN(const std::vector<KernelSpan> spans, trace_->end());
    TRY(stepped);
    const auto kinds = layer_kinds(world_.config(), world_.shard(), spans, batch, context);
    if (!kinds.ok()) {
      if (says_) std::printf("  %s\n", kinds.error().to_string().c_str());
    } else {
      for (const LayerKindRow& row : kinds.value()) print_kind(row, batch, context);
    }
    add_collectives(spans, batch, context);
    print_kernels(spans);
    return {};
  }

  // What the ranks' exchanges take of a traced step, waiting for one another included.
  void add_collectives(const std::vector<KernelSpan>& spans, int32_t batch, int32_t context) {
    double all = 0;
    double exchanges = 0;
    for (const KernelRow& row : by_kernel(spans)) {
      const bool exchange = row.name.find("parallel::") != std::string::npos ||
                            row.name.find("nccl") != std::string::npos;
      all += row.us;
      if (exchange) exchanges += row.us;
    }
    if (exchanges == 0) return;
    if (says_) std::printf("  collectives %.1f us, %.1f%%\n", exchanges, exchanges / all * 100);
    rows_.add({{"batch", batch},
               {"context", context},
               {"collectives_us", exchanges},
               {"share_of_step", exchanges / all}});
  }

  void print_kind(const LayerKindRow& row, int32_t batch, int32_t context) {
    const double share = row.us > 0 ? row.bytes / kRoofBytesPerSecond / (row.us * 1e-6) : 0;
    if (says_) {
      std::printf("  %-16s x%2d %9.1f us  %8.1f MB  %5.1f%%  %4.1f launches  %6.1f us idle\n",
                  row.kind.c_str(), row.num_layers, row.us, row.bytes * 1e-6, share * 100,
                  row.launches, row.idle_us);
    }
    rows_.add({{"batch", batch},
               {"context", context},
               {"layer_kind", row.kind},
               {"num", row.num_layers},
               {"layer_us", row.us},
               {"bytes", row.bytes},
               {"share_of_roof", share},
               {"launches", row.launches},
               {"idle_us", row.idle_us}});
  }

  void print_kernels(const std::vector<KernelSpan>& spans) const {
    if (!says_) return;
    for (const KernelRow& row : by_kernel(spans)) {
      if (row.us < 1) continue;
      std::printf("    %9.1f us  %4d x %7.2f  %s\n", row.us, row.count, row.us / row.count,
                  row.name.substr(0, 90).c_str());
    }
  }

  Result<void> prefill(int32_t num_tokens) {
    double best = 0;
    for (int32_t i = 0; i < 3; ++i) {
      TRY_ASSIGN(const double ms, world_.prefill_ms(num_tokens));
      if (best == 0 || ms < best) best = ms;
    }
    if (says_) {
      std::printf("prefill %6d tokens  %8.2f ms  %8.0f tok/s\n", num_tokens, best,
                  num_tokens / best * 1e3);
    }
    rows_.add({{"prefill_tokens", num_tokens},
               {"step_ms", best},
               {"tokens_per_s", num_tokens / best * 1e3}});
    if (trace_ == nullptr) return {};
    TRY(trace_->begin());
    const auto stepped = world_.prefill_ms(num_tokens);
    TRY_ASSIGN(const std::vector<KernelSpan> spans, trace_->end());
    TRY(stepped);
    print_kernels(spans);
    return {};
  }

  const Arguments& arguments_;
  StepWorld& world_;
  const std::string cut_;
  Rows rows_;
  const bool says_;
  std::unique_ptr<KernelTrace> trace_;
};

int32_t largest(const std::vector<int32_t>& values) {
  return *std::max_element(values.begin(), values.end());
}

// `group` is null where the other ranks are not there.
Result<void> run_rank(const Arguments& arguments, int32_t tp, int32_t rank,
                      parallel::TpGroup* group) {
  StepWorld::Options options;
  options.tp = tp;
  options.rank = rank;
  options.device = group != nullptr ? rank : 0;
  options.num_layers = arguments.number("layers", 0);
  options.batch_max = largest(arguments.numbers("batch", {1, 16, 64, 256}));
  options.context_max = largest(arguments.numbers("context", {4096}));
  options.prefill_max = std::max(64, largest(arguments.numbers("prefill", {8192})));
  options.steps_max = arguments.number("steps", 20) + 8;  // and those to warm up and to trace
  options.record = arguments.number("record", 1) != 0;
  options.batch_invariant = arguments.number("batch-invariant", 0) != 0;
  TRY_ASSIGN(const auto world, StepWorld::create(options, group));
  StepBench bench(arguments, *world, group != nullptr ? "tp" : "rank_of");
  return bench.run();
}

int fail(const Result<void>& result) {
  if (result.ok()) return 0;
  std::fprintf(stderr, "%s\n", result.error().to_string().c_str());
  return 1;
}

}  // namespace
}  // namespace mimo::bench

int main(int argc, char** argv) {
  using namespace mimo::bench;
  const auto arguments =
      Arguments::parse(argc, argv,
                       {"rank-of", "tp", "layers", "batch", "context", "prefill", "steps", "trace",
                        "record", "batch-invariant", "out", "commit"});
  if (!arguments.has_value()) return 2;
  mimo::log_configure("step_bench", mimo::LogLevel::kWarning);
  const int32_t tp = arguments->number("tp", 0);
  if (tp == 0) return fail(run_rank(*arguments, arguments->number("rank-of", 4), 0, nullptr));
  return fail(run_ranks(tp, [&](int32_t rank, mimo::parallel::TpGroup& group) {
    return run_rank(*arguments, tp, rank, &group);
  }));
}
