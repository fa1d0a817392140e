#pragma once

#include <cstdint>

namespace mimo::chat {

// What a template may take. A chat of 2,000 tokens takes some thousand steps; these bounds end a
// template that runs away in well under a second.
struct TemplateLimits {
  int64_t source_bytes_max = 1 << 20;
  // Of the rendered text, and of every string made on the way.
  int64_t output_bytes_max = 32 << 20;
  // One for each operation, item looked at and 16 bytes made.
  int64_t steps_max = 10'000'000;
  // Nesting of the source's statements and expressions, and of lists and dicts.
  int32_t nesting_max = 128;
  // Nesting of macro calls, and of all that runs within each other: statements and expressions. The
  // latter takes about 1 KB of stack a level, several when instrumented.
  int32_t calls_max = 40;
  int32_t running_max = 800;
};

}  // namespace mimo::chat
