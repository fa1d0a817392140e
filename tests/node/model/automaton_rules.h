#pragma once

#include <atomic>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "grammar/token_rules.h"

namespace mimo::node::model_test {

// Rules over token ids that a test can follow by hand. A spec's text:
//   "mod m"       every token t has t % m == (sum of the tokens before) % m
//   "mod m end n" the same for n tokens, then the last id of the vocabulary, then nothing
//   "stuck n"     everything goes for n tokens, then the rules fail
//   "broken"      does not compile
struct Automaton {
  int32_t vocab = 0;
  int32_t modulus = 1;
  int32_t length = -1;  // tokens before the end; -1: none
  int32_t stuck_at = -1;
  bool broken = false;
  // What was accepted.
  int64_t sum = 0;
  int32_t count = 0;
  bool ended = false;

  static Automaton of(const std::string& text, int32_t vocab) {
    Automaton out;
    out.vocab = vocab;
    out.broken = text == "broken";
    if (text.rfind("stuck ", 0) == 0) out.stuck_at = std::atoi(text.c_str() + 6);
    if (text.rfind("mod ", 0) == 0) out.modulus = std::atoi(text.c_str() + 4);
    const size_t end = text.find(" end ");
    if (end != std::string::npos) out.length = std::atoi(text.c_str() + end + 5);
    return out;
  }
  bool allows(int32_t token) const {
    if (ended || token < 0 || token >= vocab) return false;
    if (count == length) return token == vocab - 1;
    return token % modulus == sum % modulus;
  }
  void take(int32_t token) {
    ended = count == length;
    sum += token;
    ++count;
  }
};

// Counts what its rules are asked. Rules of one source may be asked by several threads.
class AutomatonSource final : public grammar::RuleSource {
 public:
  explicit AutomatonSource(int32_t vocab) : vocab_(vocab) {}

  std::unique_ptr<grammar::TokenRules> start(const grammar::Spec& spec) override {
    ++num_started;
    return std::make_unique<Rules>(Automaton::of(spec.text, vocab_), *this);
  }
  Result<void> check(const grammar::Spec& spec) override {
    if (Automaton::of(spec.text, vocab_).broken) return compile_error();
    return {};
  }

  std::atomic<int32_t> num_started{0};
  std::atomic<int32_t> num_filled{0};
  std::atomic<int32_t> num_accepted{0};

 private:
  static Error compile_error() { return invalid_argument("at 1: no such rule"); }

  class Rules final : public grammar::TokenRules {
   public:
    Rules(const Automaton& automaton, AutomatonSource& source)
        : automaton_(automaton), source_(source) {}
    Result<void> fill(std::span<uint32_t> mask) override {
      ++source_.num_filled;
      CHECK_EQ(static_cast<int32_t>(mask.size()), grammar::mask_words(automaton_.vocab));
      for (uint32_t& word : mask) word = 0;
      if (automaton_.broken) return compile_error();
      if (automaton_.count == automaton_.stuck_at) return internal_error("nowhere to go");
      if (automaton_.ended) return internal_error("it has ended");
      for (int32_t id = 0; id < automaton_.vocab; ++id) {
        if (automaton_.allows(id)) mask[id / 32] |= 1u << (id % 32);
      }
      return {};
    }
    Result<void> accept(int32_t token) override {
      ++source_.num_accepted;
      if (!automaton_.allows(token)) {
        return invalid_argument("token " + std::to_string(token) + " after " +
                                std::to_string(automaton_.count));
      }
      automaton_.take(token);
      return {};
    }

   private:
    Automaton automaton_;
    AutomatonSource& source_;
  };

  const int32_t vocab_;
};

inline grammar::Spec automaton_spec(std::string text) {
  return {.kind = grammar::Spec::Kind::kRegex, .text = std::move(text)};
}

}  // namespace mimo::node::model_test
