#include "node/service/rules.h"

#include <chrono>
#include <filesystem>
#include <string>
#include <utility>

#include "base/log.h"
#ifdef MIMO_HAS_GRAMMAR
#include "checkpoint/token_bytes.h"
#include "grammar/grammars.h"
#endif

namespace mimo::node {
namespace {

#ifdef MIMO_HAS_GRAMMAR

constexpr int32_t kCompileThreads = 2;
constexpr std::chrono::seconds kCompileTime{10};
constexpr std::chrono::seconds kCompileTimeOfFollowers{60};

Result<std::shared_ptr<grammar::RuleSource>> load_rules(const checkpoint::Checkpoint& checkpoint,
                                                        int32_t vocab_limit, bool leads) {
  const std::string path = checkpoint.folder() + "/tokenizer.json";
  if (!std::filesystem::exists(path)) return Error{Code::kNotFound, path + " is not there"};
  grammar::Grammars::Vocabulary vocabulary;
  TRY_ASSIGN(vocabulary.token_bytes, checkpoint::read_token_bytes(path));
  if (static_cast<int64_t>(vocabulary.token_bytes.size()) > vocab_limit) {
    vocabulary.token_bytes.resize(static_cast<size_t>(vocab_limit));
  }
  vocabulary.vocab_limit = vocab_limit;
  for (const int32_t id : checkpoint.config().eos_ids) {
    if (id < vocab_limit) vocabulary.end_ids.push_back(id);
  }
  if (vocabulary.end_ids.empty()) return Error{Code::kNotFound, "the model has no end"};
  grammar::Grammars::Options options;
  options.threads = kCompileThreads;
  options.compile_time_max = leads ? kCompileTime : kCompileTimeOfFollowers;
  options.wait_time_max = 2 * options.compile_time_max;
  TRY_ASSIGN(auto rules, grammar::Grammars::create(std::move(vocabulary), options));
  return std::shared_ptr<grammar::RuleSource>(std::move(rules));
}

#else

Result<std::shared_ptr<grammar::RuleSource>> load_rules(const checkpoint::Checkpoint&, int32_t,
                                                        bool) {
  return Error{Code::kUnimplemented, "this build has no engine for them"};
}

#endif

}  // namespace

std::shared_ptr<grammar::RuleSource> make_rules(const checkpoint::Checkpoint& checkpoint,
                                                int32_t vocab_limit, bool leads) {
  auto rules = load_rules(checkpoint, vocab_limit, leads);
  if (rules.ok()) return std::move(rules).value();
  log_warning("no_constraints", {{"reason", rules.error().message}});
  return nullptr;
}

}  // namespace mimo::node
