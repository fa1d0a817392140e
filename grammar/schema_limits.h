#pragma once

#include <cstdint>

#include "grammar/regex.h"

namespace mimo::grammar {

// What a JSON Schema may ask for before it is refused.
struct SchemaLimits {
  int64_t bytes_max = 256 << 10;
  int32_t depth_max = 64;        // objects and arrays inside one another
  int64_t nodes_max = 5000;      // subschemas, each as often as it is written
  int64_t constants_max = 5000;  // values of enum and const
  int64_t grammar_bytes_max = 4 << 20;
  RegexLimits regex = {};
};

}  // namespace mimo::grammar
