#include "coordinator/text/stop_matcher.h"

#include <algorithm>
#include <utility>

#include "coordinator/text/utf8.h"

namespace mimo::text {
namespace {

// Knuth, Morris and Pratt's table.
std::vector<int32_t> fall_backs(std::string_view stop) {
  std::vector<int32_t> table(stop.size() + 1, 0);
  int32_t matched = 0;
  for (size_t i = 1; i < stop.size(); ++i) {
    while (matched > 0 && stop[static_cast<size_t>(matched)] != stop[i])
      matched = table[static_cast<size_t>(matched)];
    if (stop[static_cast<size_t>(matched)] == stop[i]) ++matched;
    table[i + 1] = matched;
  }
  return table;
}

}  // namespace

Result<StopMatcher> StopMatcher::create(const Options& options) {
  StopMatcher matcher(options.include_stop);
  for (size_t i = 0; i < options.stops.size(); ++i) {
    const std::string& stop = options.stops[i];
    const std::string name = "stop[" + std::to_string(i) + "]";
    if (stop.empty()) return invalid_argument(name + " is empty: it would stop before any text");
    const size_t invalid = find_invalid_utf8(stop);
    if (invalid != std::string_view::npos)
      return invalid_argument(name + " is not UTF-8 at byte " + std::to_string(invalid));
    matcher.patterns_.push_back({stop, fall_backs(stop)});
  }
  return matcher;
}

void StopMatcher::advance(Pattern* pattern, char byte) {
  int32_t& matched = pattern->num_matched;
  while (matched > 0 && pattern->stop[static_cast<size_t>(matched)] != byte)
    matched = pattern->fall_back[static_cast<size_t>(matched)];
  if (pattern->stop[static_cast<size_t>(matched)] == byte) ++matched;
}

StopMatcher::Output StopMatcher::push(std::string_view text) {
  if (stopped_) return {};
  for (const char byte : text) {
    held_.push_back(byte);
    const Pattern* whole = nullptr;
    for (Pattern& pattern : patterns_) {
      advance(&pattern, byte);
      const bool is_whole = pattern.stop.size() == static_cast<size_t>(pattern.num_matched);
      if (is_whole && (whole == nullptr || pattern.stop.size() > whole->stop.size()))
        whole = &pattern;
    }
    if (whole == nullptr) continue;
    stopped_ = true;
    if (!include_stop_) held_.resize(held_.size() - whole->stop.size());
    return {std::exchange(held_, {}), static_cast<int32_t>(whole - patterns_.data())};
  }
  int32_t num_held = 0;
  for (const Pattern& pattern : patterns_) num_held = std::max(num_held, pattern.num_matched);
  const size_t num_certain = held_.size() - static_cast<size_t>(num_held);
  Output output{held_.substr(0, num_certain), std::nullopt};
  held_.erase(0, num_certain);
  return output;
}

std::string StopMatcher::finish() { return std::exchange(held_, {}); }

}  // namespace mimo::text
