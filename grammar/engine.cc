#include "grammar/engine.h"

#include <dlpack/dlpack.h>
#include <xgrammar/xgrammar.h>

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <utility>
#include <variant>

#include "base/log.h"
#include "grammar/token_rules.h"

// --- The library's messages ----------------------------------------------------------------------

namespace mimo::grammar {
namespace {

// The first warning of the call that this thread is in.
thread_local std::string* warning_sink = nullptr;

class WarningSink final {
 public:
  WarningSink() { warning_sink = &text_; }
  ~WarningSink() { warning_sink = nullptr; }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

}  // namespace
}  // namespace mimo::grammar

namespace xgrammar {

[[noreturn]] void LogFatalImpl(const std::string&, int, const std::string& message) {
  throw std::runtime_error(message);
}

void LogMessageImpl(const std::string& file, int line, int, const std::string& message) {
  if (mimo::grammar::warning_sink == nullptr) {
    mimo::log_warning("grammar_engine", {{"file", file}, {"line", line}, {"text", message}});
  } else if (mimo::grammar::warning_sink->empty()) {
    *mimo::grammar::warning_sink = message;
  }
}

}  // namespace xgrammar

namespace mimo::grammar {
namespace {

// A step over a vocabulary takes milliseconds at worst for any sane grammar; this only keeps a
// hopelessly ambiguous one from holding up the others. Counted, not timed: every rank of a group
// comes to the same end. A second or so.
constexpr Work kStepWork = {INT64_MAX, std::chrono::hours(1), 20'000'000};

// Runs `call`, which enters the library: its exceptions become Errors here.
template <typename Call>
std::optional<Error> guarded(const Work& work, Call call) {
  const WarningSink warnings;
  try {
    const WorkBudget budget(work);
    call();
  } catch (const WorkSpent& spent) {
    return Error{Code::kResourceExhausted, std::string("the constraint ") + spent.what()};
  } catch (const std::bad_alloc&) {
    return Error{Code::kResourceExhausted, "the constraint needs more memory than there is"};
  } catch (const std::exception& e) {
    std::string why = e.what();
    while (!why.empty() && (why.back() == '\n' || why.back() == ' ')) why.pop_back();
    return invalid_argument(std::move(why));
  }
  if (!warnings.text().empty()) return invalid_argument(warnings.text());
  return std::nullopt;
}

}  // namespace

struct Engine::Vocabulary {
  xgrammar::TokenizerInfo info;
  int32_t limit = 0;
  std::shared_ptr<const std::vector<uint32_t>> text_or_end;  // the tokens that may ever be allowed
  std::vector<int32_t> end_ids;
  std::vector<int32_t> num_characters;  // by token
  int64_t longest = 0;                  // of those

  std::shared_ptr<const std::vector<uint32_t>> allowed_under(int64_t least_bound) const;
};

struct Compiled::Parts {
  xgrammar::CompiledGrammar grammar;
  int32_t vocab_limit = 0;
  std::shared_ptr<const std::vector<uint32_t>> text_or_end;  // each rules' own may outlive Engine
  std::vector<int32_t> end_ids;
};

Compiled::Compiled(std::unique_ptr<const Parts> parts)
    : parts_(std::move(parts)), bytes_(static_cast<int64_t>(parts_->grammar.MemorySizeBytes())) {}
Compiled::~Compiled() = default;

// --- Matcher -------------------------------------------------------------------------------------

struct Matcher::State {
  xgrammar::GrammarMatcher matcher;
  bool ended = false;
  std::optional<Error> failure = std::nullopt;
};

Matcher::Matcher(std::shared_ptr<const Compiled> grammar, std::unique_ptr<State> state)
    : grammar_(std::move(grammar)), state_(std::move(state)) {}
Matcher::~Matcher() = default;

Result<std::unique_ptr<Matcher>> Matcher::create(std::shared_ptr<const Compiled> grammar) {
  std::unique_ptr<State> state;
  const auto failure = guarded(kStepWork, [&] {
    state = std::make_unique<State>(State{xgrammar::GrammarMatcher(grammar->parts().grammar)});
  });
  if (failure) return *failure;
  return std::unique_ptr<Matcher>(new Matcher(std::move(grammar), std::move(state)));
}

Error Matcher::broken(std::string why) {
  state_->failure = Error{Code::kFailedPrecondition, std::move(why)};
  return *state_->failure;
}

Result<void> Matcher::fill(std::span<uint32_t> mask) {
  const Compiled::Parts& parts = grammar_->parts();
  CHECK_EQ(static_cast<int32_t>(mask.size()), mask_words(parts.vocab_limit));
  if (state_->failure) return *state_->failure;
  std::fill(mask.begin(), mask.end(), 0);
  if (state_->ended) {
    for (const int32_t id : parts.end_ids)
      mask[static_cast<size_t>(id / 32)] |= uint32_t{1} << id % 32;
    return {};
  }
  int64_t shape = static_cast<int64_t>(mask.size());
  DLTensor tensor{mask.data(), {kDLCPU, 0}, 1, {kDLInt, 32, 1}, &shape, nullptr, 0};
  const auto failure = guarded(kStepWork, [&] { state_->matcher.FillNextTokenBitmask(&tensor); });
  if (failure) {
    state_->failure = *failure;
    return *failure;
  }
  uint32_t any = 0;
  for (size_t i = 0; i < mask.size(); ++i) any |= mask[i] &= (*parts.text_or_end)[i];
  if (any == 0) return broken("no token can go on from here and the text is not whole");
  return {};
}

Result<void> Matcher::accept(int32_t token) {
  const Compiled::Parts& parts = grammar_->parts();
  if (state_->failure) return *state_->failure;
  const auto refused = [&] {
    return invalid_argument("token " + std::to_string(token) + " is not allowed here");
  };
  if (token < 0 || token >= parts.vocab_limit) return refused();
  if (((*parts.text_or_end)[static_cast<size_t>(token / 32)] >> token % 32 & 1) == 0)
    return refused();
  const auto& ends = parts.end_ids;
  const bool is_end = std::find(ends.begin(), ends.end(), token) != ends.end();
  if (state_->ended) {
    if (is_end) return {};
    return refused();
  }
  bool accepted = false;
  const auto failure = guarded(kStepWork, [&] { accepted = state_->matcher.AcceptToken(token); });
  if (failure) return broken(failure->message);  // the library may have stopped halfway
  if (!accepted) return refused();
  state_->ended = is_end;
  return {};
}

// --- Engine --------------------------------------------------------------------------------------

Engine::Engine(std::unique_ptr<const Vocabulary> vocabulary) : vocabulary_(std::move(vocabulary)) {}
Engine::~Engine() = default;
int32_t Engine::vocab_limit() const { return vocabulary_->limit; }

Result<std::unique_ptr<Engine>> Engine::create(std::vector<std::string> token_bytes,
                                               int32_t vocab_limit, std::vector<int32_t> end_ids) {
  if (vocab_limit <= 0)
    return invalid_argument("vocab_limit is " + std::to_string(vocab_limit) +
                            ": expected more than 0");
  if (end_ids.empty()) return invalid_argument("end_ids is empty: expected the model's ends");
  for (const int32_t id : end_ids)
    if (id < 0 || id >= vocab_limit)
      return invalid_argument("end_ids has " + std::to_string(id) + ": expected 0 to " +
                              std::to_string(vocab_limit - 1));
  token_bytes.resize(static_cast<size_t>(vocab_limit));
  auto allowed = std::make_shared<std::vector<uint32_t>>(mask_words(vocab_limit));
  const auto allow = [&](int32_t id) {
    (*allowed)[static_cast<size_t>(id / 32)] |= uint32_t{1} << id % 32;
  };
  for (int32_t id = 0; id < vocab_limit; ++id)
    if (!token_bytes[static_cast<size_t>(id)].empty()) allow(id);
  for (const int32_t id : end_ids) allow(id);

  std::vector<int32_t> num_characters;
  int64_t longest = 0;
  for (const std::string& bytes : token_bytes) {
    num_characters.push_back(static_cast<int32_t>(
        std::count_if(bytes.begin(), bytes.end(), [](char c) { return (c & 0xc0) != 0x80; })));
    longest = std::max<int64_t>(longest, num_characters.back());
  }

  std::unique_ptr<const Vocabulary> vocabulary;
  const auto failure = guarded({INT64_MAX, std::chrono::minutes(1)}, [&] {
    vocabulary = std::make_unique<const Vocabulary>(
        Vocabulary{xgrammar::TokenizerInfo(token_bytes, xgrammar::VocabType::RAW, vocab_limit,
                                           end_ids, /*add_prefix_space=*/false),
                   vocab_limit, std::move(allowed), end_ids, std::move(num_characters), longest});
  });
  if (failure) return *failure;
  return std::unique_ptr<Engine>(new Engine(std::move(vocabulary)));
}

// Tokens that may be allowed where no bound on characters is below `least_bound`: a token that
// begins before such a part and ends past its bound is in the library's mask though it is refused
// then. So none is allowed that is long enough; every text has shorter tokens.
std::shared_ptr<const std::vector<uint32_t>> Engine::Vocabulary::allowed_under(
    int64_t least_bound) const {
  if (least_bound >= longest) return text_or_end;
  auto fewer = std::make_shared<std::vector<uint32_t>>(*text_or_end);
  for (int32_t id = 0; id < limit; ++id)
    if (num_characters[static_cast<size_t>(id)] > least_bound)
      (*fewer)[static_cast<size_t>(id / 32)] &= ~(uint32_t{1} << id % 32);
  return fewer;
}

Result<std::shared_ptr<const Compiled>> Engine::compile(const EngineText& text,
                                                        const Work& work) const {
  const auto grammar = [&] {
    if (text.kind == EngineText::Kind::kEbnf)
      return xgrammar::Grammar::FromEBNF(text.text, text.root);
    auto made = xgrammar::Grammar::FromStructuralTag(text.text, vocabulary_->info);
    if (auto* error = std::get_if<xgrammar::StructuralTagError>(&made))
      std::visit([](const auto& e) { throw std::runtime_error(e.what()); }, *error);
    return std::get<xgrammar::Grammar>(std::move(made));
  };
  std::shared_ptr<const Compiled> compiled;
  const auto failure = guarded(work, [&] {
    // Without the library's own cache, which knows no budget; grammars.h has one.
    xgrammar::GrammarCompiler compiler(vocabulary_->info, /*max_threads=*/1,
                                       /*cache_enabled=*/false);
    auto parts = std::make_unique<const Compiled::Parts>(
        Compiled::Parts{compiler.CompileGrammar(grammar()), vocabulary_->limit,
                        vocabulary_->allowed_under(text.least_bound), vocabulary_->end_ids});
    compiled = std::make_shared<const Compiled>(std::move(parts));
  });
  if (failure) return *failure;
  return compiled;
}

}  // namespace mimo::grammar
