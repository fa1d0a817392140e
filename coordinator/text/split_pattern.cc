#define PCRE2_CODE_UNIT_WIDTH 8

#include "coordinator/text/split_pattern.h"

#include <pcre2.h>

#include <utility>

#include "base/check.h"
#include "coordinator/text/utf8.h"

namespace mimo::text {
namespace {

// The stack of PCRE2's machine code. The patterns of known tokenizers need a few hundred bytes.
constexpr size_t kJitStackBytesMin = 32 * 1024;
constexpr size_t kJitStackBytesMax = 1024 * 1024;

struct Free {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
  void operator()(pcre2_jit_stack* stack) const { pcre2_jit_stack_free(stack); }
};

std::string pcre2_message(int code) {
  PCRE2_UCHAR buffer[256];
  pcre2_get_error_message(code, buffer, sizeof(buffer));
  return reinterpret_cast<const char*>(buffer);
}

}  // namespace

struct SplitScratch::Handles {
  std::unique_ptr<pcre2_jit_stack, Free> stack;
  std::unique_ptr<pcre2_match_context, Free> context;
  std::unique_ptr<pcre2_match_data, Free> match;
};

SplitScratch::SplitScratch() : handles_(std::make_unique<Handles>()) {
  handles_->stack.reset(pcre2_jit_stack_create(kJitStackBytesMin, kJitStackBytesMax, nullptr));
  handles_->context.reset(pcre2_match_context_create(nullptr));
  handles_->match.reset(pcre2_match_data_create(1, nullptr));
  CHECK(handles_->context != nullptr && handles_->match != nullptr);
  // Without machine code (a system that forbids it) there is no stack for it, and none is needed.
  if (handles_->stack != nullptr)
    pcre2_jit_stack_assign(handles_->context.get(), nullptr, handles_->stack.get());
}

SplitScratch::~SplitScratch() = default;

struct SplitPattern::Compiled {
  std::unique_ptr<pcre2_code, Free> code;
};

SplitPattern::SplitPattern(std::unique_ptr<Compiled> compiled) : compiled_(std::move(compiled)) {}
SplitPattern::~SplitPattern() = default;

Result<std::unique_ptr<SplitPattern>> SplitPattern::create(std::string_view regex) {
  TRY_ASSIGN(const std::string translated, translate_split_regex(regex));
  int code = 0;
  PCRE2_SIZE offset = 0;
  auto compiled = std::make_unique<Compiled>();
  compiled->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()),
                                     translated.size(), PCRE2_UTF | PCRE2_UCP, &code, &offset,
                                     nullptr));
  if (compiled->code == nullptr)
    return invalid_argument("the pattern is not a regular expression: " + pcre2_message(code) +
                            " at byte " + std::to_string(offset) + " of " + translated);
  // A refusal is no error: pcre2_match() then interprets the pattern, slower and the same.
  pcre2_jit_compile(compiled->code.get(), PCRE2_JIT_COMPLETE);
  return std::unique_ptr<SplitPattern>(new SplitPattern(std::move(compiled)));
}

Result<void> SplitPattern::split(std::string_view text, SplitScratch* scratch,
                                 std::vector<uint32_t>* ends) const {
  ends->clear();
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  pcre2_match_data* match = scratch->handles_->match.get();
  const PCRE2_SIZE* range = pcre2_get_ovector_pointer(match);
  size_t covered = 0;
  size_t at = 0;
  const auto cut = [&](size_t end) {
    if (end > covered) ends->push_back(static_cast<uint32_t>(end));
    covered = end;
  };
  while (at < text.size()) {
    const int found = pcre2_match(compiled_->code.get(), subject, text.size(), at,
                                  PCRE2_NO_UTF_CHECK, match, scratch->handles_->context.get());
    if (found == PCRE2_ERROR_NOMATCH) break;
    if (found < 0)
      return Error{Code::kResourceExhausted,
                   "splitting gave up at byte " + std::to_string(at) + ": " + pcre2_message(found)};
    cut(range[0]);
    cut(range[1]);
    at = range[1];
    // After an empty match the search goes on one character further.
    if (range[0] == range[1] && at < text.size()) next_code_point(text, &at);
  }
  cut(text.size());
  return {};
}

}  // namespace mimo::text
