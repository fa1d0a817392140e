#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/recorded_cases.h"
#include "cli/supervisor.h"

namespace mimo::cli {
namespace {

constexpr auto kStopTimeout = std::chrono::seconds(20);

constexpr double kFloatTolerance = 2e-3;
// A GPU rounds activations to bf16, and to e4m3 before FP8 products: a row's logits move by a few
// hundredths of their size (0.18 in the median of the golden FP8 checkpoint), more where a router's
// near-tie falls the other way, so single rows say little.
constexpr double kMedianTolerance = 0.25;
constexpr double kClearMargin = 0.05;

struct Tally {
  double logits_max_abs_err = 0;
  std::vector<double> row_errors;  // root mean square over that of the recorded logits
  int64_t greedy_tokens = 0;
  int64_t greedy_mismatches = 0;
  int64_t clear_mismatches = 0;  // in cases with a clear margin

  double median_row_error() {
    if (row_errors.empty()) return 0;
    const auto middle = row_errors.begin() + static_cast<std::ptrdiff_t>(row_errors.size() / 2);
    std::nth_element(row_errors.begin(), middle, row_errors.end());
    return *middle;
  }
};

// One recorded case asked of the server: the drawn ids, and the logits of every prompt position
// when the record has them.
struct Answer {
  std::vector<int32_t> greedy;
  std::vector<std::vector<float>> logits;  // [prompt][vocabulary served]
};

ClusterOptions cluster_for(const VerifyOptions& options, const std::vector<RecordedCase>& cases) {
  // A chunk is never more than a prompt, and a step holds at least one.
  int32_t chunk = 1;
  for (const RecordedCase& recorded : cases) {
    chunk = std::max(chunk, static_cast<int32_t>(recorded.prompt.size()));
  }
  chunk = std::min(chunk, options.chunk);
  ClusterOptions cluster;
  cluster.model = options.model;
  cluster.tp = options.tp;
  cluster.backend = options.backend;
  cluster.listen = cluster.http_listen = cluster.metrics_listen = "127.0.0.1:0";
  cluster.log_folder = options.log_folder;
  cluster.set = {"debug.logits=true",
                 options.backend == "cuda" ? "engine.mode=device" : "engine.mode=f32",
                 "api.stream_bytes_max=1073741824",
                 "engine.page_tokens=" + std::to_string(options.page_tokens),
                 "engine.prefill_chunk_max=" + std::to_string(chunk),
                 "engine.batch_tokens_max=" + std::to_string(std::max(chunk, 2048))};
  if (!options.experts.empty()) cluster.set.push_back("experts=" + options.experts);
  return cluster;
}

v1::GenerateRequest request_for(const RecordedCase& recorded) {
  v1::GenerateRequest request;
  for (const int32_t id : recorded.prompt) request.mutable_token_ids()->add_ids(id);
  request.mutable_sampling()->set_temperature(0);
  request.mutable_stopping()->set_max_tokens(static_cast<int32_t>(recorded.greedy.size()));
  request.mutable_stopping()->set_ignore_eos(true);
  if (!recorded.logits.empty()) {
    v1::ResponseOptions& response = *request.mutable_response();
    response.set_prompt_candidates(0);
    response.set_output_candidates(0);
    response.set_all_candidates(true);
    response.set_raw_logits(true);
  }
  return request;
}

Result<Answer> ask(Client& client, const RecordedCase& recorded, double timeout_s) {
  Answer answer;
  bool finished = false;
  const auto on_response = [&](const v1::GenerateResponse& response) {
    // The logits of position p are told with the token at p + 1.
    for (int i = 1; i < response.prompt().tokens_size(); ++i) {
      const auto& all = response.prompt().tokens(i).all();
      answer.logits.emplace_back(all.begin(), all.end());
    }
    for (const v1::TokenInfo& token : response.token().tokens()) {
      if (answer.greedy.empty() && !recorded.logits.empty()) {
        answer.logits.emplace_back(token.all().begin(), token.all().end());
      }
      answer.greedy.push_back(token.token_id());
    }
    finished = finished || response.has_finished();
    return true;
  };
  TRY(client.generate(request_for(recorded), timeout_s, on_response));
  if (!finished) return internal_error("the stream ended with OK and without a finished event");
  return answer;
}

Result<void> compare_logits(const RecordedCase& recorded, const Answer& answer, Tally& tally) {
  if (recorded.logits.empty()) return {};
  if (answer.logits.size() != recorded.prompt.size()) {
    return internal_error("logits of " + std::to_string(answer.logits.size()) +
                          " prompt positions came, expected " +
                          std::to_string(recorded.prompt.size()));
  }
  for (size_t p = 0; p < answer.logits.size(); ++p) {
    const std::vector<float>& got = answer.logits[p];
    // Padding rows past the tokenizer's last id are not served.
    if (got.empty() || static_cast<int32_t>(got.size()) > recorded.vocab) {
      return internal_error(std::to_string(got.size()) + " logits at position " +
                            std::to_string(p) + ", expected up to " +
                            std::to_string(recorded.vocab));
    }
    const float* want = recorded.logits.data() + p * static_cast<size_t>(recorded.vocab);
    double difference = 0;
    double size = 0;
    for (size_t c = 0; c < got.size(); ++c) {
      const double error = std::fabs(static_cast<double>(got[c]) - want[c]);
      if (!(error <= tally.logits_max_abs_err)) tally.logits_max_abs_err = error;  // NaN counts
      difference += error * error;
      size += static_cast<double>(want[c]) * want[c];
    }
    const double relative = std::sqrt(difference / size);
    tally.row_errors.push_back(relative <= 1e9 ? relative : 1e9);  // NaN counts
  }
  return {};
}

Result<void> run_case(Client& client, const RecordedCase& recorded, double timeout_s,
                      Tally& tally) {
  TRY_ASSIGN(const Answer answer, ask(client, recorded, timeout_s));
  TRY(compare_logits(recorded, answer, tally));
  for (size_t i = 0; i < recorded.greedy.size(); ++i) {
    ++tally.greedy_tokens;
    if (i >= answer.greedy.size() || answer.greedy[i] != recorded.greedy[i]) {
      ++tally.greedy_mismatches;
      if (recorded.min_top2_margin > kClearMargin) ++tally.clear_mismatches;
    }
  }
  return {};
}

nlohmann::json finite_or_text(double value) {
  return std::isfinite(value) ? nlohmann::json(value) : nlohmann::json(std::to_string(value));
}

bool passes(const VerifyOptions& options, Tally& tally) {
  const bool exact = options.backend != "cuda";
  if (exact ? tally.greedy_mismatches > 0 : tally.clear_mismatches > 0) return false;
  if (options.logits_tolerance >= 0) return tally.logits_max_abs_err <= options.logits_tolerance;
  return exact ? tally.logits_max_abs_err <= kFloatTolerance
               : tally.median_row_error() <= kMedianTolerance;
}

Result<bool> verify(const VerifyOptions& options) {
  TRY_ASSIGN(const std::vector<RecordedCase> cases, read_recorded_cases(options.model));
  if (!options.log_folder.empty()) {
    std::error_code failed;
    std::filesystem::create_directories(options.log_folder, failed);
    if (failed)
      return invalid_argument("--log-folder " + options.log_folder + ": " + failed.message());
  }
  TRY_ASSIGN(const auto supervisor, Supervisor::start(cluster_for(options, cases)));
  TRY_ASSIGN(const v1::ServerInfo info,
             supervisor->wait_serving(std::chrono::duration<double>(options.timeout_s),
                                      [] { return false; }));
  Client client(supervisor->addresses().listen);
  Tally tally;
  for (size_t i = 0; i < cases.size(); ++i) {
    const auto done = run_case(client, cases[i], options.timeout_s, tally);
    if (!done.ok()) return done.error().with_context("case " + std::to_string(i));
  }
  const bool ok = passes(options, tally);
  nlohmann::ordered_json line;
  line["model"] = options.model;
  line["tp"] = info.tensor_parallel();
  line["backend"] = info.backend();
  line["cases"] = cases.size();
  line["logits_max_abs_err"] = finite_or_text(tally.logits_max_abs_err);
  line["logits_median_rel_err"] = tally.median_row_error();
  line["greedy_tokens"] = tally.greedy_tokens;
  line["greedy_mismatches"] = tally.greedy_mismatches;
  line["clear_mismatches"] = tally.clear_mismatches;
  line["ok"] = ok;
  // A path need not be UTF-8.
  const auto replace = nlohmann::json::error_handler_t::replace;
  std::printf("%s\n", line.dump(-1, ' ', false, replace).c_str());
  std::fflush(stdout);
  TRY(supervisor->stop(kStopTimeout));
  return ok;
}

}  // namespace

int run_verify(const VerifyOptions& options) {
  const auto ok = verify(options);
  if (!ok.ok()) return fail(Error{ok.error().code, ok.error().to_string()});
  return ok.value() ? 0 : 1;
}

}  // namespace mimo::cli
