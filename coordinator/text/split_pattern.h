#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace mimo::text {

// What one thread needs while it splits. One at a time uses it.
class SplitScratch final {
 public:
  SplitScratch();
  ~SplitScratch();
  SplitScratch(const SplitScratch&) = delete;
  SplitScratch& operator=(const SplitScratch&) = delete;

 private:
  friend class SplitPattern;
  struct Handles;
  std::unique_ptr<Handles> handles_;
};

// The regular expression that cuts text into pieces before byte-pair encoding. Files write it for
// Oniguruma; here PCRE2 runs it, rewritten where the two read the same text differently, and
// refused where they cannot be made to agree.
//
// Thread: any; each with a SplitScratch of its own.
class SplitPattern final {
 public:
  static Result<std::unique_ptr<SplitPattern>> create(std::string_view regex);
  ~SplitPattern();
  SplitPattern(const SplitPattern&) = delete;
  SplitPattern& operator=(const SplitPattern&) = delete;

  // Sets `ends` to where the pieces of `text` (well-formed UTF-8, < 4 GiB) end: each match is a
  // piece, and so is what lies between two matches. kResourceExhausted when the pattern needs more
  // backtracking than PCRE2's limits allow.
  Result<void> split(std::string_view text, SplitScratch* scratch,
                     std::vector<uint32_t>* ends) const;

 private:
  struct Compiled;
  explicit SplitPattern(std::unique_ptr<Compiled> compiled);

  std::unique_ptr<Compiled> compiled_;
};

// `regex`, written for Oniguruma, as PCRE2 must be given it to mean the same; or
// kInvalidArgument naming the first thing in it that is outside the common ground.
Result<std::string> translate_split_regex(std::string_view regex);

}  // namespace mimo::text
