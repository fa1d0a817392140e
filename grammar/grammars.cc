#include "grammar/grammars.h"

#include <pthread.h>

#include <condition_variable>
#include <exception>
#include <list>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <utility>

#include "base/bounded_queue.h"
#include "base/check.h"
#include "base/log.h"
#include "grammar/engine.h"

namespace mimo::grammar {
namespace {

// Started ones (a group's admissions, which its slots bound) that may wait beyond queue_max: one
// rank must not refuse what the others take.
constexpr int32_t kStartedMax = 4096;

// The library walks grammars by recursion; only what is touched of a stack takes memory.
constexpr size_t kStackBytes = size_t{256} << 20;

// A spec and what became of it.
//
// Thread:    any. One mutex: a value that is set once and waited for by many is no queue.
// Invariant: once set, `result` does not change.
struct Entry {
  explicit Entry(Spec given) : spec(std::move(given)) {}

  void set(Result<std::shared_ptr<const Compiled>> given) {
    {
      std::lock_guard lock(mutex);
      if (result) return;
      result = std::move(given);
    }
    done.notify_all();
  }

  Result<std::shared_ptr<const Compiled>> wait(std::chrono::milliseconds time_max) {
    std::unique_lock lock(mutex);
    if (!done.wait_for(lock, time_max, [&] { return result.has_value(); }))
      return Error{Code::kResourceExhausted, "the constraint was not compiled within " +
                                                 std::to_string(time_max.count()) + " ms"};
    return *result;
  }

  bool is_done() {
    std::lock_guard lock(mutex);
    return result.has_value();
  }

  const Spec spec;
  std::mutex mutex;
  std::condition_variable done;
  std::optional<Result<std::shared_ptr<const Compiled>>> result;
};

struct SpecHash {
  size_t operator()(const Spec& spec) const {
    const std::hash<std::string> hash;
    size_t all = static_cast<size_t>(spec.kind) * 31 + hash(spec.text);
    for (const std::string& choice : spec.choices) all = all * 31 + hash(choice);
    return all * 31 + hash(spec.free_until);
  }
};

int64_t text_bytes(const Spec& spec) {
  size_t bytes = sizeof(Entry) + spec.text.size() + spec.free_until.size();
  for (const std::string& choice : spec.choices) bytes += choice.size() + sizeof(choice);
  return static_cast<int64_t>(bytes);
}

// Rules that wait for their grammar when they are first asked.
class LazyRules final : public TokenRules {
 public:
  LazyRules(std::shared_ptr<Entry> entry, std::chrono::milliseconds wait_time_max)
      : entry_(std::move(entry)), wait_time_max_(wait_time_max) {}

  Result<void> fill(std::span<uint32_t> mask) override {
    TRY(ready());
    return matcher_->fill(mask);
  }
  Result<void> accept(int32_t token) override {
    TRY(ready());
    return matcher_->accept(token);
  }

 private:
  Result<void> ready() {
    if (matcher_) return {};
    TRY_ASSIGN(std::shared_ptr<const Compiled> grammar, entry_->wait(wait_time_max_));
    TRY_ASSIGN(matcher_, Matcher::create(std::move(grammar)));
    entry_.reset();
    return {};
  }

  std::shared_ptr<Entry> entry_;  // shared with the cache and the thread that compiles it
  const std::chrono::milliseconds wait_time_max_;
  std::unique_ptr<Matcher> matcher_;
};

}  // namespace

// Thread: any; one mutex over the cache, a table that any thread reads and moves on use.
class Grammars::Parts {
 public:
  Parts(std::unique_ptr<Engine> engine, const Options& options)
      : engine_(std::move(engine)), options_(options), queue_(options.queue_max + kStartedMax) {}

  Result<void> start_threads() {
    pthread_attr_t attributes;
    CHECK_EQ(pthread_attr_init(&attributes), 0);
    CHECK_EQ(pthread_attr_setstacksize(&attributes, kStackBytes), 0);
    int status = 0;
    for (int32_t i = 0; i < options_.threads && status == 0; ++i) {
      pthread_t thread;
      status = pthread_create(&thread, &attributes, &Parts::run, this);
      if (status == 0) threads_.push_back(thread);
    }
    pthread_attr_destroy(&attributes);
    if (status != 0)
      return Error{Code::kResourceExhausted,
                   "no thread to compile constraints: error " + std::to_string(status)};
    return {};
  }

  ~Parts() {
    queue_.close();
    for (auto& entry : queue_.drain())
      entry->set(Error{Code::kCancelled, "the worker stops: the constraint is not compiled"});
    for (const pthread_t thread : threads_) pthread_join(thread, nullptr);
  }

  // `refusable`: when so many wait already that a new one is to come back later.
  std::shared_ptr<Entry> entry_for(const Spec& spec, bool refusable);
  const Options& options() const { return options_; }
  Stats stats() const {
    std::lock_guard lock(mutex_);
    Stats stats = stats_;
    stats.cached = static_cast<int64_t>(uses_.size());
    stats.cached_bytes = cached_bytes_;
    return stats;
  }

 private:
  struct Use {
    std::shared_ptr<Entry> entry;
    int64_t bytes = 0;
  };

  static void* run(void* self) {
    static_cast<Parts*>(self)->compile_all();
    return nullptr;
  }
  void compile_all();
  Result<std::shared_ptr<const Compiled>> compile(const Spec& spec) const;
  void finish(const std::shared_ptr<Entry>& entry, Result<std::shared_ptr<const Compiled>> result);
  void forget_locked(const Spec& spec);
  void trim_locked(const Entry& finished);

  const std::unique_ptr<Engine> engine_;
  const Options options_;
  BoundedQueue<std::shared_ptr<Entry>> queue_;
  std::vector<pthread_t> threads_;

  mutable std::mutex mutex_;
  std::list<Use> uses_;  // the one used last first
  std::unordered_map<Spec, std::list<Use>::iterator, SpecHash> by_spec_;
  int64_t cached_bytes_ = 0;
  Stats stats_;
};

std::shared_ptr<Entry> Grammars::Parts::entry_for(const Spec& spec, bool refusable) {
  std::lock_guard lock(mutex_);
  if (const auto found = by_spec_.find(spec); found != by_spec_.end()) {
    uses_.splice(uses_.begin(), uses_, found->second);
    ++stats_.hits;
    return found->second->entry;
  }
  auto entry = std::make_shared<Entry>(spec);
  if (text_bytes(spec) > options_.limits.text_bytes_max + 64 * options_.limits.choices_max) {
    ++stats_.refused;
    entry->set(invalid_argument("the constraint has " + std::to_string(text_bytes(spec)) +
                                " bytes: expected at most " +
                                std::to_string(options_.limits.text_bytes_max)));
    return entry;
  }
  auto waiting = entry;
  const bool full = refusable && queue_.size() >= options_.queue_max;
  if (full || !queue_.try_push(std::move(waiting))) {
    ++stats_.refused;
    entry->set(Error{Code::kResourceExhausted, std::to_string(options_.queue_max) +
                                                   " constraints wait to be compiled already"});
    return entry;
  }
  uses_.push_front({entry, text_bytes(spec)});
  by_spec_.emplace(spec, uses_.begin());
  cached_bytes_ += uses_.front().bytes;
  return entry;
}

void Grammars::Parts::compile_all() {
  while (true) {
    auto entry = queue_.pop_for(std::chrono::hours(1));
    if (!entry) {
      if (queue_.closed()) return;
      continue;
    }
    const auto start = std::chrono::steady_clock::now();
    auto result = compile((*entry)->spec);
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(
                        std::chrono::steady_clock::now() - start)
                        .count();
    if (ms > 1000)
      log_warning("slow_constraint", {{"ms", ms},
                                      {"bytes", (*entry)->spec.text.size()},
                                      {"kind", static_cast<int32_t>((*entry)->spec.kind)}});
    finish(*entry, std::move(result));
  }
}

Result<std::shared_ptr<const Compiled>> Grammars::Parts::compile(const Spec& spec) const {
  // A spec is a stranger's: whatever it brings up must not end the process.
  try {
    TRY_ASSIGN(const EngineText made, engine_text(spec, options_.limits));
    return engine_->compile(made, {options_.growth_max, options_.compile_time_max});
  } catch (const std::exception& e) {
    return invalid_argument(std::string("the constraint: ") + e.what());
  }
}

void Grammars::Parts::forget_locked(const Spec& spec) {
  const auto found = by_spec_.find(spec);
  cached_bytes_ -= found->second->bytes;
  uses_.erase(found->second);
  by_spec_.erase(found);
}

void Grammars::Parts::finish(const std::shared_ptr<Entry>& entry,
                             Result<std::shared_ptr<const Compiled>> result) {
  {
    std::lock_guard lock(mutex_);
    ++(result.ok() ? stats_.compiled : stats_.refused);
    Use& use = *by_spec_.at(entry->spec);
    // What depends on the load of the moment may go well another time.
    if (!result.ok() && result.error().code != Code::kInvalidArgument) {
      forget_locked(entry->spec);
    } else if (result.ok()) {
      use.bytes += result.value()->bytes();
      cached_bytes_ += result.value()->bytes();
    }
    trim_locked(*entry);
  }
  entry->set(std::move(result));
}

// Grammars that are being compiled stay; so may more be held than the bound, for as long.
void Grammars::Parts::trim_locked(const Entry& finished) {
  for (auto last = uses_.end();
       cached_bytes_ > options_.cache_bytes_max && last != uses_.begin();) {
    --last;
    if (last->entry.get() != &finished && !last->entry->is_done()) continue;
    const auto next = std::next(last);
    cached_bytes_ -= last->bytes;
    by_spec_.erase(last->entry->spec);
    uses_.erase(last);
    last = next;
  }
}

Result<void> Grammars::Options::validate() const {
  const auto positive = [](const char* name, int64_t value) -> Result<void> {
    if (value > 0) return {};
    return invalid_argument(std::string(name) + " is " + std::to_string(value) +
                            ": expected more than 0");
  };
  TRY(positive("threads", threads));
  TRY(positive("queue_max", queue_max));
  TRY(positive("cache_bytes_max", cache_bytes_max));
  TRY(positive("growth_max", growth_max));
  TRY(positive("compile_time_max", compile_time_max.count()));
  return positive("wait_time_max", wait_time_max.count());
}

Grammars::Grammars(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Grammars::~Grammars() = default;

Result<std::unique_ptr<Grammars>> Grammars::create(Vocabulary vocabulary, const Options& options) {
  TRY(options.validate());
  TRY_ASSIGN(auto engine, Engine::create(std::move(vocabulary.token_bytes), vocabulary.vocab_limit,
                                         std::move(vocabulary.end_ids)));
  auto parts = std::make_unique<Parts>(std::move(engine), options);
  TRY(parts->start_threads());
  return std::unique_ptr<Grammars>(new Grammars(std::move(parts)));
}

std::unique_ptr<TokenRules> Grammars::start(const Spec& spec) {
  return std::make_unique<LazyRules>(parts_->entry_for(spec, false),
                                     parts_->options().wait_time_max);
}

Result<void> Grammars::check(const Spec& spec) {
  TRY_ASSIGN(const auto grammar,
             parts_->entry_for(spec, true)->wait(parts_->options().wait_time_max));
  return {};
}

Grammars::Stats Grammars::stats() const { return parts_->stats(); }

}  // namespace mimo::grammar
