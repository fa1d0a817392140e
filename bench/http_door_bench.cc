// What the HTTP door carries and costs: clients over loopback that stream chats, a leader in the
// server's process that answers at once (or a step every --step-us). Server and clients are two
// processes, so that their CPU can be told apart. Then one client alone with a prompt of about
// --prompt tokens: the time to its first token, all of which is the front end's. One JSON line.
//
//   http_door_bench [--clients 64] [--seconds 5] [--tokens 256] [--step-us 0] [--prompt 2000]
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "base/check.h"
#include "bench/child_server.h"
#include "tests/coordinator/http/http_door.h"

namespace mimo::http {
namespace {

using Options = std::map<std::string, int64_t>;
using bench::ChildServer;
using bench::cpu_s;
using Clock = std::chrono::steady_clock;

constexpr size_t kEndBytes = 32;  // what a stream's end takes
constexpr const char* kSentence = "The fox went over the hill to see what it could see. ";

int serve(const Options& options) {
  HttpDoor::Options wanted;
  wanted.front.engine.step_ns = options.at("step-us") * 1000;
  const std::string tiny = std::string(MIMO_SOURCE_DIR) + "/models/tiny";
  wanted.front.tokenizer_json = tiny + "/tokenizer.json";
  // The bundled model's own template: what a real conversation is rendered by.
  wanted.front.template_folder = tiny;
  wanted.front.sessions.limits.vocab_limit = 2041;
  wanted.front.sessions.limits.positions_max = 65536;
  wanted.front.sessions.limits.eos_ids = {};
  wanted.front.sessions.stream_bytes_max = int64_t{1} << 30;
  wanted.front.api.health_interval_s = 0.1;
  HttpDoor door(wanted);
  return bench::serve_parent(door.address());
}

std::string chat(const std::string& content, int64_t tokens) {
  nlohmann::json body;
  body["messages"] = {{{"role", "user"}, {"content", content}}};
  body["stream"] = true;
  body["ignore_eos"] = true;
  body["max_tokens"] = tokens;
  return HttpClient::post_text("/v1/chat/completions", body.dump());
}

// --- Many clients, each one request after another, read by one thread ---------------------------

struct Counts {
  int64_t requests = 0;
  int64_t events = 0;
};

// How often `word` is in `text`.
int64_t occurrences(std::string_view text, std::string_view word) {
  int64_t count = 0;
  for (size_t at = text.find(word); at != std::string_view::npos;
       at = text.find(word, at + word.size()))
    ++count;
  return count;
}

class Crowd {
 public:
  Crowd(const std::string& address, int64_t num_clients, std::string request)
      : request_(std::move(request)), epoll_(epoll_create1(EPOLL_CLOEXEC)) {
    for (int64_t i = 0; i < num_clients; ++i) {
      auto client = std::make_unique<HttpClient>(address);
      epoll_event event{};
      event.events = EPOLLIN;
      event.data.u64 = static_cast<uint64_t>(i);
      CHECK_EQ(epoll_ctl(epoll_, EPOLL_CTL_ADD, client->fd(), &event), 0);
      CHECK(client->send(request_));
      clients_.push_back({std::move(client), ""});
    }
  }
  ~Crowd() { close(epoll_); }

  Counts run(double seconds) {
    Counts counts;
    const auto end = Clock::now() + std::chrono::duration<double>(seconds);
    std::vector<char> bytes(1 << 18);
    std::vector<epoll_event> ready(256);
    while (Clock::now() < end) {
      const int num = epoll_wait(epoll_, ready.data(), static_cast<int>(ready.size()), 100);
      for (int i = 0; i < num; ++i)
        take(&clients_[ready[static_cast<size_t>(i)].data.u64], &bytes, &counts);
    }
    return counts;
  }

 private:
  struct Client {
    std::unique_ptr<HttpClient> connection;
    std::string tail;  // of what was read: an event's end may come in two pieces
  };

  void take(Client* client, std::vector<char>* bytes, Counts* counts) {
    const ssize_t got = recv(client->connection->fd(), bytes->data(), bytes->size(), 0);
    CHECK_GT(got, 0);
    const std::string_view came(bytes->data(), static_cast<size_t>(got));
    // An event whose first word comes in two pieces is not counted: too few to matter.
    counts->events += occurrences(came, "data: ");
    client->tail += came;
    if (client->tail.find("data: [DONE]\n\n\r\n0\r\n\r\n") != std::string::npos) {
      ++counts->requests;
      client->tail.clear();
      CHECK(client->connection->send(request_));
    } else if (client->tail.size() > kEndBytes) {
      client->tail.erase(0, client->tail.size() - kEndBytes);
    }
  }

  const std::string request_;
  const int epoll_;
  std::vector<Client> clients_;
};

// --- One client ---------------------------------------------------------------------------------

// Milliseconds from a request's first byte to its first token's event, sorted.
std::vector<double> first_token_ms(const std::string& address, const std::string& request) {
  std::vector<double> all;
  HttpClient client(address);
  for (int i = 0; i < 400; ++i) {
    const auto begin = Clock::now();
    CHECK(client.send(request));
    CHECK(client.read_until("data: "));
    const double ms = std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
    CHECK_EQ(client.read().status, 200);
    if (i >= 100) all.push_back(ms);  // the first ones fill caches
  }
  std::sort(all.begin(), all.end());
  return all;
}

int measure(const char* program, const Options& options) {
  ChildServer server({program, "--serve", "1", "--step-us", std::to_string(options.at("step-us"))});
  const int64_t tokens = options.at("tokens");
  std::string prompt;
  // The sentence is about a dozen tokens of the bundled tokenizer.
  for (int64_t i = 0; i < options.at("prompt") / 13; ++i) prompt += kSentence;
  const int64_t prompt_tokens =
      HttpClient(server.address())
          .post("/tokenize", {{"messages", {{{"role", "user"}, {"content", prompt}}}}})
          .json()["count"];
  const auto alone = first_token_ms(server.address(), chat(prompt, 1));

  Crowd crowd(server.address(), options.at("clients"), chat(kSentence, tokens));
  crowd.run(1.0);
  const double server_cpu = server.cpu(), client_cpu = cpu_s(RUSAGE_SELF);
  const auto begin = Clock::now();
  const Counts counts = crowd.run(static_cast<double>(options.at("seconds")));
  const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  const double num_tokens = static_cast<double>(counts.requests * tokens);
  std::printf(
      "{\"bench\": \"http_door\", \"clients\": %ld, \"step_us\": %ld, \"tokens_a_request\": %ld, "
      "\"seconds\": %.2f, \"tokens_per_s\": %.0f, \"tokens_an_event\": %.2f, "
      "\"server_cpu_us_per_token\": %.2f, \"client_cpu_us_per_token\": %.2f, "
      "\"prompt_tokens\": %ld, \"first_token_ms_p50\": %.3f, \"first_token_ms_p99\": %.3f}\n",
      static_cast<long>(options.at("clients")), static_cast<long>(options.at("step-us")),
      static_cast<long>(tokens), seconds, num_tokens / seconds,
      num_tokens / static_cast<double>(std::max<int64_t>(counts.events, 1)),
      (server.cpu() - server_cpu) * 1e6 / num_tokens,
      (cpu_s(RUSAGE_SELF) - client_cpu) * 1e6 / num_tokens, static_cast<long>(prompt_tokens),
      alone[alone.size() / 2], alone[alone.size() * 99 / 100]);
  return 0;
}

}  // namespace
}  // namespace mimo::http

int main(int argc, char** argv) {
  mimo::http::Options options = {{"clients", 64}, {"seconds", 5},   {"tokens", 256},
                                 {"step-us", 0},  {"prompt", 2000}, {"serve", 0}};
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = std::string(argv[i]).substr(2);
    if (!options.contains(name)) {
      std::fprintf(stderr, "http_door_bench: --%s: no such option\n", name.c_str());
      return 2;
    }
    options[name] = std::atoll(argv[i + 1]);
  }
  if (options["serve"] != 0) return mimo::http::serve(options);
  return mimo::http::measure(argv[0], options);
}
