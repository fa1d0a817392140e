#include "coordinator/text/added_tokens.h"

#include <unicode/uchar.h>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "coordinator/text/utf8.h"

namespace mimo::text {
namespace {

// \w of Unicode's regular expression annex.
bool is_word(char32_t code_point) {
  const auto c = static_cast<UChar32>(code_point);
  constexpr uint32_t kCategories = U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK;
  return u_hasBinaryProperty(c, UCHAR_ALPHABETIC) != 0 || (U_GET_GC_MASK(c) & kCategories) != 0 ||
         u_hasBinaryProperty(c, UCHAR_JOIN_CONTROL) != 0;
}

bool is_space(char32_t code_point) {
  return u_isUWhiteSpace(static_cast<UChar32>(code_point)) != 0;
}

bool stands_alone(std::string_view utf8, size_t begin, size_t end) {
  if (begin > 0) {
    size_t before = previous_code_point(utf8, begin);
    if (is_word(next_code_point(utf8, &before))) return false;
  }
  if (end == utf8.size()) return true;
  return !is_word(next_code_point(utf8, &end));
}

size_t skip_spaces_back(std::string_view utf8, size_t end) {
  while (end > 0) {
    const size_t before = previous_code_point(utf8, end);
    size_t at = before;
    if (!is_space(next_code_point(utf8, &at))) break;
    end = before;
  }
  return end;
}

size_t skip_spaces(std::string_view utf8, size_t begin) {
  while (begin < utf8.size()) {
    size_t at = begin;
    if (!is_space(next_code_point(utf8, &at))) break;
    begin = at;
  }
  return begin;
}

}  // namespace

AddedTokenMatcher::AddedTokenMatcher(std::vector<Pattern> patterns)
    : patterns_(std::move(patterns)) {
  std::sort(patterns_.begin(), patterns_.end(),
            [](const Pattern& a, const Pattern& b) { return a.bytes < b.bytes; });
  for (size_t i = 0; i < patterns_.size(); ++i) {
    CHECK(!patterns_[i].bytes.empty());
    Range& range = by_first_byte_[static_cast<uint8_t>(patterns_[i].bytes[0])];
    if (range.begin == range.end) range.begin = i;
    range.end = i + 1;
  }
}

// Narrows the range of patterns that agree with the text by one byte a round; the first of a range
// is its shortest, so it ends where the text has agreed with all of it.
const AddedTokenMatcher::Pattern* AddedTokenMatcher::longest_at(std::string_view utf8,
                                                                size_t at) const {
  const Range range = by_first_byte_[static_cast<uint8_t>(utf8[at])];
  const Pattern* longest = nullptr;
  auto begin = patterns_.begin() + static_cast<std::ptrdiff_t>(range.begin);
  auto end = patterns_.begin() + static_cast<std::ptrdiff_t>(range.end);
  for (size_t depth = 1; begin != end; ++depth) {
    if (begin->bytes.size() == depth) longest = &*begin++;
    if (at + depth == utf8.size()) break;
    const auto wanted = static_cast<uint8_t>(utf8[at + depth]);
    const auto byte_at = [depth](const Pattern& p) { return static_cast<uint8_t>(p.bytes[depth]); };
    begin = std::partition_point(begin, end, [&](const Pattern& p) { return byte_at(p) < wanted; });
    end = std::partition_point(begin, end, [&](const Pattern& p) { return byte_at(p) == wanted; });
  }
  return longest;
}

void AddedTokenMatcher::split(std::string_view utf8, std::vector<Segment>* segments) const {
  segments->clear();
  size_t covered = 0;
  size_t at = 0;
  while (at < utf8.size() && !patterns_.empty()) {
    const Pattern* found = longest_at(utf8, at);
    if (found == nullptr) {
      ++at;
      continue;
    }
    size_t begin = at;
    size_t end = at + found->bytes.size();
    at = end;
    if (found->token.single_word && !stands_alone(utf8, begin, end)) continue;
    if (found->token.lstrip) begin = std::max(skip_spaces_back(utf8, begin), covered);
    if (found->token.rstrip) end = skip_spaces(utf8, end);
    // Nothing is left of a token of white space when the one before it has taken that.
    if (begin >= end) continue;
    if (covered < begin) segments->push_back({-1, covered, begin});
    segments->push_back({found->token.id, begin, end});
    covered = end;
  }
  if (covered < utf8.size()) segments->push_back({-1, covered, utf8.size()});
}

}  // namespace mimo::text
