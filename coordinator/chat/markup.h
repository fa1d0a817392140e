#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace mimo::chat {

inline bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

inline bool is_blank(std::string_view text) {
  return text.find_first_not_of(" \t\r\n") == std::string_view::npos;
}

// Whether `text` may yet become `word`: it begins with it, or is all of its beginning.
enum class Match : uint8_t { kNo, kMaybe, kYes };

inline Match match(std::string_view text, std::string_view word) {
  if (text.size() >= word.size()) return text.starts_with(word) ? Match::kYes : Match::kNo;
  return word.starts_with(text) ? Match::kMaybe : Match::kNo;
}

// Where `word` first begins in `text` at or after `from`, be it whole or cut off by the text's end;
// the text's length when it does not.
inline size_t find_start(std::string_view text, std::string_view word, size_t from) {
  for (size_t at = text.find(word[0], from); at != std::string_view::npos;
       at = text.find(word[0], at + 1))
    if (match(text.substr(at), word) != Match::kNo) return at;
  return text.size();
}

}  // namespace mimo::chat
