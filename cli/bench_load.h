#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "cli/latency.h"
#include "cli/options.h"
#include "mimo/v1/inference.pb.h"

namespace mimo::cli {

// The requests of a run, made once from the options and their seed: exact lengths of random ids, or
// the prompts of a file in turn.
Result<std::vector<v1::GenerateRequest>> make_load(const BenchOptions& options, int32_t vocab);

// Seconds after the start at which each request is due: all 0 in a closed loop, Poisson arrivals in
// an open one.
std::vector<double> arrival_times(const BenchOptions& options, int32_t num_requests);

struct BenchTotals {
  Latencies ttft;  // request sent (open loop: due) to first token
  Latencies itl;   // token to token
  Latencies e2e;
  int64_t requests_ok = 0;
  int64_t requests_failed = 0;
  int64_t prompt_tokens = 0;
  int64_t output_tokens = 0;
  double seconds = 0;
  std::vector<std::string> errors;  // each text once
};

// Sends the load and waits for all of it. `on_progress(done, tokens)` is called a few times a
// second.
BenchTotals run_load(const BenchOptions& options, const std::vector<v1::GenerateRequest>& load,
                     const std::vector<double>& due_s,
                     const std::function<void(int64_t, int64_t)>& on_progress);

}  // namespace mimo::cli
