#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "grammar/spec_grammar.h"
#include "grammar/token_rules.h"

namespace mimo::grammar {

// The rules of specs over one model's vocabulary. Specs are compiled by threads of its own, each
// once while it stays in the cache.
//
// Thread:   any.
// Lifetime: rules may outlive it; those whose spec is not compiled by then answer kCancelled.
class Grammars final : public RuleSource {
 public:
  struct Vocabulary {
    // By id; empty where a token is not text (checkpoint/token_bytes.h). Shorter than vocab_limit:
    // the ids from its end on are no tokens.
    std::vector<std::string> token_bytes;
    int32_t vocab_limit = 0;
    std::vector<int32_t> end_ids;  // the model's
  };
  struct Options {
    int32_t threads = 2;
    int32_t queue_max = 64;                        // specs that wait to be compiled
    int64_t cache_bytes_max = int64_t{256} << 20;  // of compiled grammars; used ones go on living
    int64_t growth_max = 2'000'000;                // of one compilation (grammar/budget.h)
    std::chrono::milliseconds compile_time_max{10'000};
    std::chrono::milliseconds wait_time_max{60'000};  // for a compilation and those before it
    SpecLimits limits = {};

    Result<void> validate() const;
  };
  struct Stats {
    int64_t compiled = 0;
    int64_t refused = 0;
    int64_t cached = 0;
    int64_t cached_bytes = 0;
    int64_t hits = 0;
  };

  static Result<std::unique_ptr<Grammars>> create(Vocabulary vocabulary, const Options& options);
  ~Grammars() override;

  std::unique_ptr<TokenRules> start(const Spec& spec) override;
  Result<void> check(const Spec& spec) override;
  Stats stats() const;

 private:
  class Parts;
  explicit Grammars(std::unique_ptr<Parts> parts);

  std::unique_ptr<Parts> parts_;
};

}  // namespace mimo::grammar
