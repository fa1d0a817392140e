#include <unistd.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "cli/bench_load.h"
#include "cli/client.h"
#include "cli/commands.h"

namespace mimo::cli {
namespace {

nlohmann::ordered_json quantiles_ms(Latencies& latencies) {
  const auto ms = [](double seconds) { return std::round(seconds * 1e6) / 1e3; };
  return {{"mean", ms(latencies.mean())},
          {"p50", ms(latencies.quantile(0.50))},
          {"p95", ms(latencies.quantile(0.95))},
          {"p99", ms(latencies.quantile(0.99))}};
}

nlohmann::ordered_json report(const BenchOptions& options, BenchTotals& totals) {
  nlohmann::ordered_json json;
  json["server"] = options.server;
  json["loop"] = options.rate > 0 ? "open" : "closed";
  if (options.rate > 0) {
    json["rate"] = options.rate;
  } else {
    json["concurrency"] = options.concurrency;
  }
  json["seed"] = options.seed;
  json["requests_ok"] = totals.requests_ok;
  json["requests_failed"] = totals.requests_failed;
  json["seconds"] = totals.seconds;
  json["prompt_tokens"] = totals.prompt_tokens;
  json["output_tokens"] = totals.output_tokens;
  json["requests_per_s"] = static_cast<double>(totals.requests_ok) / totals.seconds;
  json["output_tokens_per_s"] = static_cast<double>(totals.output_tokens) / totals.seconds;
  json["total_tokens_per_s"] =
      static_cast<double>(totals.prompt_tokens + totals.output_tokens) / totals.seconds;
  json["ttft_ms"] = quantiles_ms(totals.ttft);
  json["itl_ms"] = quantiles_ms(totals.itl);
  json["e2e_ms"] = quantiles_ms(totals.e2e);
  if (!totals.errors.empty()) json["errors"] = totals.errors;
  return json;
}

void print_table(const nlohmann::ordered_json& json) {
  std::printf("requests        %ld ok, %ld failed in %.2f s (%.2f a second)\n",
              json["requests_ok"].get<long>(), json["requests_failed"].get<long>(),
              json["seconds"].get<double>(), json["requests_per_s"].get<double>());
  std::printf("tokens          %ld in, %ld out; %.1f out a second, %.1f in all\n",
              json["prompt_tokens"].get<long>(), json["output_tokens"].get<long>(),
              json["output_tokens_per_s"].get<double>(), json["total_tokens_per_s"].get<double>());
  std::printf("%-12s %10s %10s %10s %10s\n", "ms", "mean", "p50", "p95", "p99");
  for (const char* name : {"ttft_ms", "itl_ms", "e2e_ms"}) {
    const auto& q = json[name];
    std::printf("%-12s %10.3f %10.3f %10.3f %10.3f\n", std::string(name, 4).c_str(),
                q["mean"].get<double>(), q["p50"].get<double>(), q["p95"].get<double>(),
                q["p99"].get<double>());
  }
  if (!json.contains("errors")) return;
  for (const auto& error : json["errors"]) {
    std::printf("error           %s\n", error.get<std::string>().c_str());
  }
}

void print_progress(int64_t done, int64_t all, int64_t tokens) {
  constexpr int64_t kWidth = 30;
  const std::string bar(static_cast<size_t>(kWidth * done / all), '#');
  std::fprintf(stderr, "\r[%-30s] %ld/%ld requests, %ld tokens ", bar.c_str(),
               static_cast<long>(done), static_cast<long>(all), static_cast<long>(tokens));
  if (done == all) std::fprintf(stderr, "\n");
}

}  // namespace

int run_bench(const BenchOptions& options) {
  Client client(options.server);
  const auto info = client.model_info(10);
  if (!info.ok()) return fail(info.error().with_context(options.server));
  const auto load = make_load(options, info.value().vocab_size());
  if (!load.ok()) return fail(load.error());
  BenchOptions warmup = options;
  warmup.num_requests = options.warmup;
  warmup.rate = 0;
  warmup.seed = options.seed ^ 0x7761726dull;  // other prompts than those that are timed
  if (warmup.num_requests > 0) {
    const auto warm = make_load(warmup, info.value().vocab_size());
    if (!warm.ok()) return fail(warm.error());
    run_load(warmup, warm.value(), arrival_times(warmup, warmup.num_requests), [](auto, auto) {});
  }
  const bool progress = ::isatty(STDERR_FILENO) != 0;
  BenchTotals totals = run_load(options, load.value(), arrival_times(options, options.num_requests),
                                [&](int64_t done, int64_t tokens) {
                                  if (progress) print_progress(done, options.num_requests, tokens);
                                });
  const auto json = report(options, totals);
  if (options.json) {
    // A server's words, and paths, need not be UTF-8.
    std::printf("%s\n",
                json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
  } else {
    print_table(json);
  }
  return totals.requests_failed == 0 ? 0 : 1;
}

}  // namespace mimo::cli
