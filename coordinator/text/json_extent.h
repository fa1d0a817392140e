#pragma once

#include <cstdint>
#include <string_view>

namespace mimo::text {

// How far a JSON text reaches, as far as it is one; known before it is parsed, since copies and
// destruction of a parsed value recurse, and objects look for their names one by one.
struct JsonExtent {
  int32_t depth = 0;    // objects and arrays inside one another
  int64_t members = 0;  // of the object that has most of them
};

// Linear in the text; levels below `depth_max` + 1 are not looked at.
JsonExtent json_extent(std::string_view text, int32_t depth_max);

}  // namespace mimo::text
