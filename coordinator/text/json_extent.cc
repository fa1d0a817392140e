#include "coordinator/text/json_extent.h"

#include <algorithm>
#include <vector>

namespace mimo::text {

JsonExtent json_extent(std::string_view text, int32_t depth_max) {
  JsonExtent extent;
  std::vector<int64_t> members;  // of the objects around this place
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      in_string = c != '"';
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      members.push_back(0);
      extent.depth = std::max(extent.depth, static_cast<int32_t>(members.size()));
      if (extent.depth > depth_max) return extent;
    } else if ((c == '}' || c == ']') && !members.empty()) {
      members.pop_back();
    } else if (c == ':' && !members.empty()) {
      extent.members = std::max(extent.members, ++members.back());
    }
  }
  return extent;
}

}  // namespace mimo::text
