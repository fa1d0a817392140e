#pragma once

#include <sstream>
#include <string>

namespace mimo {

// Prints file, line, what was expected and the values, then aborts. Never returns.
[[noreturn]] void check_failed(const char* file, int line, const char* what,
                               const std::string& values);

namespace check_detail {
template <typename A, typename B>
std::string both(const A& a, const B& b) {
  std::ostringstream out;
  out << a << " vs " << b;
  return out.str();
}
}  // namespace check_detail

}  // namespace mimo

// Our mistake: always on, ends the process.
#define CHECK(condition)                                                        \
  do {                                                                          \
    if (!(condition)) ::mimo::check_failed(__FILE__, __LINE__, #condition, ""); \
  } while (false)

#define CHECK_OP_(a, op, b)                                                 \
  do {                                                                      \
    const auto& check_a_ = (a);                                             \
    const auto& check_b_ = (b);                                             \
    if (!(check_a_ op check_b_))                                            \
      ::mimo::check_failed(__FILE__, __LINE__, #a " " #op " " #b,           \
                           ::mimo::check_detail::both(check_a_, check_b_)); \
  } while (false)

#define CHECK_EQ(a, b) CHECK_OP_(a, ==, b)
#define CHECK_NE(a, b) CHECK_OP_(a, !=, b)
#define CHECK_LT(a, b) CHECK_OP_(a, <, b)
#define CHECK_LE(a, b) CHECK_OP_(a, <=, b)
#define CHECK_GT(a, b) CHECK_OP_(a, >, b)
#define CHECK_GE(a, b) CHECK_OP_(a, >=, b)
