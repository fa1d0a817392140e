#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <random>
#include <thread>

#include "cli/client.h"
#include "cli/recorded_cases.h"
#include "cli/supervisor.h"

namespace mimo::cli {
namespace {

using SteadyClock = std::chrono::steady_clock;
using std::chrono::milliseconds;

const std::string kTiny = std::string(MIMO_SOURCE_DIR) + "/models/tiny";
constexpr double kTimeoutS = 120;

uint64_t test_seed() {
  const char* given = std::getenv("MIMO_TEST_SEED");
  const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : 20252;
  std::printf("MIMO_TEST_SEED=%llu\n", static_cast<unsigned long long>(seed));
  return seed;
}

// What a stream brought.
struct Answer {
  std::vector<int32_t> ids;
  bool finished = false;
  Error status{Code::kOk, ""};
  SteadyClock::time_point ended;
};

// A server of the bundled model with two workers, tended by a thread of its own as `mimo serve`
// does it.
class Served {
 public:
  explicit Served(std::vector<std::string> settings) {
    tender_ = std::thread([this, settings = std::move(settings)] { tend(settings); });
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return started_; });
  }
  ~Served() {
    stopping_ = true;
    tender_.join();
  }

  const std::string& address() const { return addresses_.listen; }
  pid_t coordinator_pid() const { return coordinator_pid_; }

  v1::ServerInfo wait_serving(int64_t after_epoch) {
    Client client(address());
    const auto deadline = SteadyClock::now() + std::chrono::seconds(60);
    while (SteadyClock::now() < deadline) {
      const auto info = client.server_info(2);
      if (info.ok() && info.value().state() == v1::ServerInfo::READY &&
          info.value().epoch() > after_epoch) {
        return info.value();
      }
      std::this_thread::sleep_for(milliseconds(20));
    }
    ADD_FAILURE() << "the group does not serve after epoch " << after_epoch;
    return {};
  }

  Answer ask(const v1::GenerateRequest& request, size_t cancel_after = SIZE_MAX) {
    Client client(address());
    Answer answer;
    const auto done = client.generate(request, kTimeoutS, [&](const v1::GenerateResponse& r) {
      for (const v1::TokenInfo& token : r.token().tokens()) answer.ids.push_back(token.token_id());
      answer.finished = answer.finished || r.has_finished();
      return answer.ids.size() < cancel_after;
    });
    answer.ended = SteadyClock::now();
    if (!done.ok()) answer.status = done.error();
    return answer;
  }

 private:
  // Children live as long as the thread that starts them, so one thread does all of it.
  void tend(const std::vector<std::string>& settings) {
    ClusterOptions options;
    options.model = kTiny;
    options.tp = 2;
    options.listen = options.http_listen = options.metrics_listen = "127.0.0.1:0";
    options.set = settings;
    options.log_folder = ::testing::TempDir();
    auto supervisor = Supervisor::start(options).value();
    {
      std::lock_guard lock(mutex_);
      addresses_ = supervisor->addresses();
      coordinator_pid_ = supervisor->coordinator_pid();
      started_ = true;
    }
    changed_.notify_all();
    while (!stopping_) {
      EXPECT_TRUE(supervisor->tend().ok());
      coordinator_pid_ = supervisor->coordinator_pid();
      std::this_thread::sleep_for(milliseconds(20));
    }
    const auto stopped = supervisor->stop(milliseconds(30'000));
    EXPECT_TRUE(stopped.ok()) << stopped.error().to_string();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  bool started_ = false;
  ClusterAddresses addresses_;
  std::atomic<pid_t> coordinator_pid_{0};
  std::atomic<bool> stopping_{false};
  std::thread tender_;
};

v1::GenerateRequest request_of(const std::vector<int32_t>& prompt, int32_t max_tokens) {
  v1::GenerateRequest request;
  for (const int32_t id : prompt) request.mutable_token_ids()->add_ids(id);
  request.mutable_sampling()->set_temperature(0);
  request.mutable_stopping()->set_max_tokens(max_tokens);
  request.mutable_stopping()->set_ignore_eos(true);
  return request;
}

void expect_recorded(Served& served) {
  const RecordedCase recorded = read_recorded_cases(kTiny).value().front();
  const Answer answer =
      served.ask(request_of(recorded.prompt, static_cast<int32_t>(recorded.greedy.size())));
  EXPECT_EQ(answer.status.code, Code::kOk) << answer.status.to_string();
  EXPECT_EQ(answer.ids, recorded.greedy);
}

void wait_until_empty(Served& served) {
  v1::LoadInfo load;
  Client client(served.address());
  const auto deadline = SteadyClock::now() + std::chrono::seconds(10);
  do {
    load = client.load(2).value();
    if (load.running_requests() == 0 && load.queued_requests() == 0 && load.used_kv_pages() == 0) {
      return;
    }
    std::this_thread::sleep_for(milliseconds(20));
  } while (SteadyClock::now() < deadline);
  ADD_FAILURE() << "10 s after the last stream: " << load.ShortDebugString();
}

TEST(Serve, SixtyFourClientsWithCancelsInASmallPoolGetWhatEachGetsAlone) {
  // 12 pages of 16 tokens: one long sequence and a little.
  Served served({"engine.page_tokens=16", "engine.full_pages=12", "engine.window_pages=40",
                 "engine.positions_max=160", "engine.prefill_chunk_max=32",
                 "engine.batch_tokens_max=96"});
  served.wait_serving(0);
  std::mt19937_64 random(test_seed());
  std::vector<v1::GenerateRequest> requests;
  std::vector<size_t> cancel_after;
  for (int i = 0; i < 64; ++i) {
    std::vector<int32_t> prompt(1 + random() % 60);
    for (int32_t& id : prompt) id = static_cast<int32_t>(random() % 2000);
    v1::GenerateRequest request = request_of(prompt, static_cast<int32_t>(1 + random() % 60));
    if (random() % 2 == 0) {
      request.mutable_sampling()->set_temperature(1);
      request.mutable_sampling()->set_seed(random());
    }
    requests.push_back(request);
    cancel_after.push_back(random() % 3 == 0 ? random() % 20 : SIZE_MAX);
  }

  std::vector<Answer> together(requests.size());
  std::vector<std::thread> clients;
  for (size_t i = 0; i < requests.size(); ++i) {
    clients.emplace_back([&, i] { together[i] = served.ask(requests[i], cancel_after[i]); });
  }
  for (std::thread& client : clients) client.join();
  wait_until_empty(served);

  for (size_t i = 0; i < requests.size(); ++i) {
    if (together[i].status.code == Code::kCancelled) {
      EXPECT_NE(cancel_after[i], SIZE_MAX) << i;
      continue;
    }
    ASSERT_EQ(together[i].status.code, Code::kOk) << together[i].status.to_string();
    EXPECT_TRUE(together[i].finished);
    EXPECT_EQ(together[i].ids, served.ask(requests[i]).ids) << i;
  }
}

// Long streams of several clients, each cut short by `lose`; what they end with, and when.
std::vector<Answer> streams_cut_by(Served& served, const std::function<void()>& lose) {
  std::vector<Answer> answers(8);
  std::vector<std::thread> clients;
  for (size_t i = 0; i < answers.size(); ++i) {
    clients.emplace_back([&served, &answers, i] {
      answers[i] = served.ask(request_of({2033, static_cast<int32_t>(i)}, 3000));
    });
  }
  Client client(served.address());
  const auto deadline = SteadyClock::now() + std::chrono::seconds(30);
  while (client.load(2).value().running_requests() < 8 && SteadyClock::now() < deadline) {
    std::this_thread::sleep_for(milliseconds(10));
  }
  lose();
  for (std::thread& thread : clients) thread.join();
  return answers;
}

class KilledWorker : public ::testing::TestWithParam<int32_t> {};

TEST_P(KilledWorker, UnderLoadEndsStreamsUnavailableAndTheGroupFormsAgain) {
  Served served({});
  const v1::ServerInfo before = served.wait_serving(0);
  pid_t victim = 0;
  for (const v1::WorkerInfo& worker : before.workers()) {
    if (worker.rank() == GetParam()) victim = static_cast<pid_t>(worker.pid());
  }
  ASSERT_GT(victim, 0);

  SteadyClock::time_point killed;
  const auto answers = streams_cut_by(served, [&] {
    killed = SteadyClock::now();
    ::kill(victim, SIGKILL);
  });

  for (const Answer& answer : answers) {
    EXPECT_EQ(answer.status.code, Code::kUnavailable) << answer.status.to_string();
    EXPECT_FALSE(answer.finished);
    EXPECT_LT(answer.ended - killed, std::chrono::seconds(2));
  }
  const v1::ServerInfo after = served.wait_serving(before.epoch());
  int32_t survivors = 0;
  for (const v1::WorkerInfo& now : after.workers()) {
    for (const v1::WorkerInfo& then : before.workers()) survivors += now.pid() == then.pid();
  }
  EXPECT_EQ(survivors, 1);  // the other rank's process lives on
  expect_recorded(served);
}

INSTANTIATE_TEST_SUITE_P(Rank, KilledWorker, ::testing::Values(0, 1));

TEST(Serve, AKilledCoordinatorIsFoundAgainByItsWorkers) {
  Served served({});
  const v1::ServerInfo before = served.wait_serving(0);
  const auto answers = streams_cut_by(served, [&] { ::kill(served.coordinator_pid(), SIGKILL); });

  for (const Answer& answer : answers) {
    EXPECT_EQ(answer.status.code, Code::kUnavailable) << answer.status.to_string();
  }
  const v1::ServerInfo after = served.wait_serving(before.epoch());
  ASSERT_EQ(after.workers_size(), before.workers_size());
  for (const v1::WorkerInfo& now : after.workers()) {
    bool same = false;
    for (const v1::WorkerInfo& then : before.workers()) same = same || now.pid() == then.pid();
    EXPECT_TRUE(same) << "worker " << now.worker_id() << " was started anew";
  }
  expect_recorded(served);
}

}  // namespace
}  // namespace mimo::cli
