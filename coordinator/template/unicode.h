#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mimo::chat {

// Python's view of characters, over well-formed UTF-8. Classes come from ICU's tables.

bool is_space(char32_t c);      // str.isspace
bool is_printable(char32_t c);  // str.isprintable: what repr() shows as it is
bool is_alpha(char32_t c);
bool is_decimal(char32_t c);
bool is_digit(char32_t c);
bool is_numeric(char32_t c);
bool is_alnum(char32_t c);
bool is_cased_upper(char32_t c);
bool is_cased_lower(char32_t c);
bool is_cased_title(char32_t c);
bool is_identifier_start(char32_t c);
bool is_identifier_part(char32_t c);
// The digit's value; -1 for what is not a decimal digit.
int32_t decimal_value(char32_t c);

std::string upper(std::string_view text);
std::string lower(std::string_view text);
// The first character as in a title, the others lower: str.capitalize.
std::string capitalize(std::string_view text);
// Every word's first letter as in a title: str.title.
std::string title(std::string_view text);
std::string swap_case(std::string_view text);

std::u32string code_points(std::string_view text);
std::string utf8(std::u32string_view text);
int64_t num_code_points(std::string_view text);
// Where code point `index` starts; text.size() when it has no more.
size_t byte_of(std::string_view text, int64_t index);

// str.strip and its kin: of the characters in `chars`, of white space when it is null.
std::string_view strip(std::string_view text, const std::string_view* chars, bool left, bool right);

// str.splitlines.
std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends);

}  // namespace mimo::chat
