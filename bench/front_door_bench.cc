// How many tokens a second the front door carries, and what one costs: clients over loopback, a
// leader in the server's process that answers at once (or a step every --step-us). Server and
// clients are two processes, so that their CPU can be told apart. One JSON line.
//
//   front_door_bench [--clients 64] [--seconds 5] [--tokens 256] [--step-us 0]
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/check.h"
#include "bench/child_server.h"
#include "mimo/v1/inference.grpc.pb.h"
#include "tests/coordinator/api/front_door.h"

namespace mimo::coordinator {
namespace {

using Options = std::map<std::string, int64_t>;
using bench::ChildServer;
using bench::cpu_s;
using bench::serve_parent;

// --- Server --------------------------------------------------------------------------------------

int serve(const Options& options) {
  auto wanted = FrontDoor::options();
  wanted.engine.step_ns = options.at("step-us") * 1000;
  wanted.tokenizer_json = std::string(MIMO_SOURCE_DIR) + "/models/tiny/tokenizer.json";
  wanted.sessions.limits.vocab_limit = 2041;
  wanted.sessions.limits.eos_ids = {2034};
  wanted.sessions.stream_bytes_max = int64_t{1} << 30;
  wanted.api.health_interval_s = 0.1;
  FrontDoor door(wanted);
  return serve_parent(door.server->address());
}

// --- Clients: each one request after another, on a connection of its own -------------------------

struct Counters {
  std::atomic<int64_t> tokens{0};
  std::atomic<int64_t> messages{0};
  std::atomic<int64_t> requests{0};
  std::atomic<bool> stop{false};
  std::atomic<int32_t> running{0};
};

class Client final : public grpc::ClientReadReactor<v1::GenerateResponse> {
 public:
  Client(v1::Inference::Stub& stub, const v1::GenerateRequest& request, Counters& counters)
      : stub_(stub), request_(request), counters_(counters) {
    ++counters_.running;
    start();
  }

  void OnReadDone(bool ok) override {
    if (!ok) return;
    counters_.messages.fetch_add(1, std::memory_order_relaxed);
    counters_.tokens.fetch_add(response_.token().tokens_size(), std::memory_order_relaxed);
    StartRead(&response_);
  }
  void OnDone(const grpc::Status& status) override {
    CHECK(status.ok());
    ++counters_.requests;
    if (!counters_.stop) {
      // A reactor serves one call.
      new Client(stub_, request_, counters_);
    }
    --counters_.running;
    delete this;
  }

 private:
  void start() {
    stub_.async()->Generate(&context_, &request_, this);
    StartRead(&response_);
    StartCall();
  }

  v1::Inference::Stub& stub_;
  const v1::GenerateRequest& request_;
  Counters& counters_;
  grpc::ClientContext context_;
  v1::GenerateResponse response_;
};

struct Reading {
  double server_cpu, client_cpu;
  int64_t tokens, messages, requests;
  std::chrono::steady_clock::time_point at;
};

Reading read(ChildServer& server, const Counters& counters) {
  return {server.cpu(),      cpu_s(RUSAGE_SELF), counters.tokens,
          counters.messages, counters.requests,  std::chrono::steady_clock::now()};
}

int measure(const char* program, const Options& options) {
  ChildServer server({program, "--serve", "1", "--step-us", std::to_string(options.at("step-us"))});
  Counters counters;
  v1::GenerateRequest request;
  request.set_text("The fox went over the hill to see what it could see. ");
  request.mutable_stopping()->set_max_tokens(static_cast<int32_t>(options.at("tokens")));
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  std::vector<std::unique_ptr<v1::Inference::Stub>> stubs;
  for (int64_t i = 0; i < options.at("clients"); ++i) {
    stubs.push_back(v1::Inference::NewStub(grpc::CreateCustomChannel(
        server.address(), grpc::InsecureChannelCredentials(), arguments)));
    new Client(*stubs.back(), request, counters);
  }

  std::this_thread::sleep_for(std::chrono::seconds(1));  // connections, first pages
  const Reading begin = read(server, counters);
  std::this_thread::sleep_for(std::chrono::seconds(options.at("seconds")));
  const Reading end = read(server, counters);
  counters.stop = true;
  while (counters.running > 0) std::this_thread::sleep_for(std::chrono::milliseconds(5));

  const double seconds = std::chrono::duration<double>(end.at - begin.at).count();
  const auto tokens = static_cast<double>(end.tokens - begin.tokens);
  std::printf(
      "{\"bench\": \"front_door\", \"clients\": %ld, \"step_us\": %ld, \"tokens_a_request\": %ld, "
      "\"seconds\": %.2f, \"tokens_per_s\": %.0f, \"tokens_a_message\": %.2f, "
      "\"server_cpu_us_per_token\": %.2f, \"client_cpu_us_per_token\": %.2f, "
      "\"requests_per_s\": %.0f}\n",
      static_cast<long>(options.at("clients")), static_cast<long>(options.at("step-us")),
      static_cast<long>(options.at("tokens")), seconds, tokens / seconds,
      tokens / static_cast<double>(end.messages - begin.messages),
      (end.server_cpu - begin.server_cpu) * 1e6 / tokens,
      (end.client_cpu - begin.client_cpu) * 1e6 / tokens,
      static_cast<double>(end.requests - begin.requests) / seconds);
  return 0;
}

}  // namespace
}  // namespace mimo::coordinator

int main(int argc, char** argv) {
  mimo::coordinator::Options options = {
      {"clients", 64}, {"seconds", 5}, {"tokens", 256}, {"step-us", 0}, {"serve", 0}};
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = std::string(argv[i]).substr(2);
    if (!options.contains(name)) {
      std::fprintf(stderr, "front_door_bench: --%s: no such option\n", name.c_str());
      return 2;
    }
    options[name] = std::atoll(argv[i + 1]);
  }
  if (options["serve"] != 0) return mimo::coordinator::serve(options);
  return mimo::coordinator::measure(argv[0], options);
}
