#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"

namespace mimo::grammar {

// What an output's text must be. Field meanings: proto/mimo/v1/constraint.proto.
struct Spec {
  enum class Kind : uint8_t {
    kNone,
    kJsonSchema,
    kJsonObject,
    kRegex,
    kChoice,
    kGrammar,
    kStructuralTag,
  };
  Kind kind = Kind::kNone;
  std::string text = {};
  std::vector<std::string> choices = {};
  std::string free_until = {};
  bool operator==(const Spec&) const = default;
};

// 32-bit words of a mask over `vocab_limit` tokens: token t is bit t % 32 of word t / 32.
constexpr int32_t mask_words(int32_t vocab_limit) { return (vocab_limit + 31) / 32; }

// One output held to a spec, while it is drawn.
//
// Thread: one at a time.
class TokenRules {
 public:
  virtual ~TokenRules() = default;
  // Which tokens may come next, a set bit each; at least one is. The model's ends are set only
  // where the text so far is whole. `mask` has mask_words(vocab_limit) words; bits from vocab_limit
  // on are 0. May wait for the spec's compilation; its error comes here.
  virtual Result<void> fill(std::span<uint32_t> mask) = 0;
  // The next token. kInvalidArgument when fill() had not allowed it: nothing has changed then.
  virtual Result<void> accept(int32_t token) = 0;
};

// Makes rules of specs. One for a vocabulary.
//
// Thread: any.
class RuleSource {
 public:
  virtual ~RuleSource() = default;
  // At once: a spec that is new is compiled in the background.
  virtual std::unique_ptr<TokenRules> start(const Spec& spec) = 0;
  // Waits until the spec is compiled. kInvalidArgument with where and why when it cannot be.
  virtual Result<void> check(const Spec& spec) = 0;
};

}  // namespace mimo::grammar
