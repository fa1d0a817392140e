#include "cli/bench_load.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <fstream>
#include <mutex>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>
#include <utility>

#include "cli/client.h"

namespace mimo::cli {
namespace {

using SteadyClock = std::chrono::steady_clock;

double seconds_since(SteadyClock::time_point start) {
  return std::chrono::duration<double>(SteadyClock::now() - start).count();
}

void set_common(const BenchOptions& options, uint64_t seed, v1::GenerateRequest& request) {
  request.mutable_sampling()->set_temperature(options.temperature);
  request.mutable_sampling()->set_seed(seed);
}

bool is_int32(const nlohmann::json& value) {
  if (value.is_number_unsigned()) return std::in_range<int32_t>(value.get<uint64_t>());
  return value.is_number_integer() && std::in_range<int32_t>(value.get<int64_t>());
}

Result<v1::GenerateRequest> parse_prompt(const std::string& line, int64_t number,
                                         const BenchOptions& options) {
  const auto where = options.prompts + ":" + std::to_string(number);
  const auto json = nlohmann::json::parse(line, nullptr, false);
  if (!json.is_object()) return invalid_argument(where + ": expected a JSON object");
  v1::GenerateRequest request;
  if (json.contains("text") && json["text"].is_string()) {
    request.set_text(json["text"].get<std::string>());
  } else if (json.contains("ids") && json["ids"].is_array()) {
    for (const auto& id : json["ids"]) {
      if (!is_int32(id)) return invalid_argument(where + ": ids: expected 32-bit integers");
      request.mutable_token_ids()->add_ids(id.get<int32_t>());
    }
  } else {
    return invalid_argument(where + ": expected \"text\" or \"ids\"");
  }
  const bool has_max = json.contains("max_tokens");
  if (has_max && !is_int32(json["max_tokens"]))
    return invalid_argument(where + ": max_tokens: expected a 32-bit integer");
  request.mutable_stopping()->set_max_tokens(has_max ? json["max_tokens"].get<int32_t>()
                                                     : options.output_tokens);
  return request;
}

Result<std::vector<v1::GenerateRequest>> read_prompts(const BenchOptions& options) {
  std::ifstream file(options.prompts);
  std::vector<v1::GenerateRequest> prompts;
  std::string line;
  for (int64_t number = 1; std::getline(file, line); ++number) {
    if (line.empty()) continue;
    TRY_ASSIGN(auto request, parse_prompt(line, number, options));
    prompts.push_back(std::move(request));
  }
  if (prompts.empty()) return invalid_argument(options.prompts + ": no prompts in it");
  return prompts;
}

// One run: workers take the next request each, in order.
class Load {
 public:
  Load(const BenchOptions& options, const std::vector<v1::GenerateRequest>& load,
       const std::vector<double>& due_s)
      : options_(options), load_(load), due_s_(due_s), start_(SteadyClock::now()) {}

  BenchTotals run(const std::function<void(int64_t, int64_t)>& on_progress) {
    const auto size = static_cast<int32_t>(load_.size());
    const int32_t num_threads =
        options_.rate > 0 ? std::min(size, 512) : std::min(size, options_.concurrency);
    std::vector<std::thread> threads;
    for (int32_t i = 0; i < num_threads; ++i) threads.emplace_back([this] { work(); });
    {
      std::unique_lock lock(mutex_);
      while (!done_.wait_for(lock, std::chrono::milliseconds(200),
                             [&] { return num_done_ == size; })) {
        on_progress(num_done_, num_tokens_);
      }
    }
    for (std::thread& thread : threads) thread.join();
    totals_.seconds = seconds_since(start_);
    on_progress(num_done_, num_tokens_);
    return std::move(totals_);
  }

 private:
  void work() {
    Client client(options_.server);
    for (;;) {
      const int64_t index = next_.fetch_add(1);
      if (index >= static_cast<int64_t>(load_.size())) return;
      const double due = due_s_[static_cast<size_t>(index)];
      std::this_thread::sleep_until(start_ + std::chrono::duration_cast<SteadyClock::duration>(
                                                 std::chrono::duration<double>(due)));
      send(client, load_[static_cast<size_t>(index)],
           options_.rate > 0 ? due : seconds_since(start_));
    }
  }

  void send(Client& client, const v1::GenerateRequest& request, double begin) {
    Latencies itl;
    double first = 0;
    double last = 0;
    v1::Usage usage;
    const auto on_response = [&](const v1::GenerateResponse& response) {
      if (response.has_finished()) usage = response.usage();
      if (!response.has_token() || response.token().tokens().empty()) return true;
      const double now = seconds_since(start_);
      if (first == 0) first = now;
      if (last > 0) itl.add(now - last);
      last = now;
      num_tokens_ += response.token().tokens_size();
      return true;
    };
    const auto result = client.generate(request, options_.timeout_s, on_response);
    const double end = seconds_since(start_);
    std::lock_guard lock(mutex_);
    ++num_done_;
    if (result.ok()) {
      ++totals_.requests_ok;
      if (first > 0) totals_.ttft.add(first - begin);  // an answer of no tokens has no first
      totals_.e2e.add(end - begin);
      totals_.itl.add_all(itl);
      totals_.prompt_tokens += usage.prompt_tokens();
      totals_.output_tokens += usage.completion_tokens();
    } else {
      ++totals_.requests_failed;
      const std::string text = result.error().to_string();
      if (std::find(totals_.errors.begin(), totals_.errors.end(), text) == totals_.errors.end()) {
        totals_.errors.push_back(text);
      }
    }
    done_.notify_all();
  }

  const BenchOptions& options_;
  const std::vector<v1::GenerateRequest>& load_;
  const std::vector<double>& due_s_;
  const SteadyClock::time_point start_;
  std::atomic<int64_t> next_{0};
  std::atomic<int64_t> num_tokens_{0};
  std::atomic<int64_t> num_done_{0};
  std::mutex mutex_;  // totals of many threads, touched once a request
  std::condition_variable done_;
  BenchTotals totals_;
};

}  // namespace

Result<std::vector<v1::GenerateRequest>> make_load(const BenchOptions& options, int32_t vocab) {
  std::vector<v1::GenerateRequest> prompts;
  if (!options.prompts.empty()) {
    TRY_ASSIGN(prompts, read_prompts(options));
  }
  std::mt19937_64 random(options.seed);
  std::uniform_int_distribution<int32_t> any_id(0, vocab - 1);
  std::vector<v1::GenerateRequest> load;
  for (int32_t i = 0; i < options.num_requests; ++i) {
    v1::GenerateRequest request;
    if (!prompts.empty()) {
      request = prompts[static_cast<size_t>(i) % prompts.size()];
    } else {
      for (int32_t t = 0; t < options.input_tokens; ++t) {
        request.mutable_token_ids()->add_ids(any_id(random));
      }
      request.mutable_stopping()->set_max_tokens(options.output_tokens);
      request.mutable_stopping()->set_ignore_eos(true);
    }
    set_common(options, options.seed + static_cast<uint64_t>(i), request);
    load.push_back(std::move(request));
  }
  return load;
}

std::vector<double> arrival_times(const BenchOptions& options, int32_t num_requests) {
  std::vector<double> times(static_cast<size_t>(num_requests), 0.0);
  if (options.rate <= 0) return times;
  std::mt19937_64 random(options.seed ^ 0x61727269766c73ull);
  std::exponential_distribution<double> gap(options.rate);
  double at = 0;
  for (double& time : times) {
    time = at;
    at += gap(random);
  }
  return times;
}

BenchTotals run_load(const BenchOptions& options, const std::vector<v1::GenerateRequest>& load,
                     const std::vector<double>& due_s,
                     const std::function<void(int64_t, int64_t)>& on_progress) {
  return Load(options, load, due_s).run(on_progress);
}

}  // namespace mimo::cli
