#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "grammar/budget.h"
#include "grammar/spec_grammar.h"

namespace mimo::grammar {

// A grammar made ready for a vocabulary.
//
// Thread: any; it does not change.
class Compiled final {
 public:
  struct Parts;
  explicit Compiled(std::unique_ptr<const Parts> parts);
  ~Compiled();
  const Parts& parts() const { return *parts_; }
  int64_t bytes() const { return bytes_; }  // about what it takes in memory

 private:
  std::unique_ptr<const Parts> parts_;
  int64_t bytes_;
};

// Where one text stands in its grammar.
//
// Thread:    one at a time.
// Lifetime:  shares the grammar, so that it may be dropped from a cache.
// Invariant: after an error of fill() every call answers that error.
class Matcher final {
 public:
  static Result<std::unique_ptr<Matcher>> create(std::shared_ptr<const Compiled> grammar);
  ~Matcher();
  // As TokenRules::fill() and accept().
  Result<void> fill(std::span<uint32_t> mask);
  Result<void> accept(int32_t token);

 private:
  struct State;
  Matcher(std::shared_ptr<const Compiled> grammar, std::unique_ptr<State> state);
  Error broken(std::string why);

  std::shared_ptr<const Compiled> grammar_;
  std::unique_ptr<State> state_;
};

// Compiles grammars for one vocabulary. The one file that knows the library is engine.cc; its
// exceptions end there, and what it would pass over with a warning is an error.
//
// Thread: any.
class Engine final {
 public:
  // `token_bytes` by id: empty where a token is not text. `end_ids` are allowed where the text is
  // whole. kInvalidArgument when an end is not in [0, vocab_limit), or there is none.
  static Result<std::unique_ptr<Engine>> create(std::vector<std::string> token_bytes,
                                                int32_t vocab_limit, std::vector<int32_t> end_ids);
  ~Engine();

  // kInvalidArgument with the library's reason; kResourceExhausted when the work is spent.
  Result<std::shared_ptr<const Compiled>> compile(const EngineText& text, const Work& work) const;
  int32_t vocab_limit() const;

 private:
  struct Vocabulary;
  explicit Engine(std::unique_ptr<const Vocabulary> vocabulary);

  std::unique_ptr<const Vocabulary> vocabulary_;
};

}  // namespace mimo::grammar
