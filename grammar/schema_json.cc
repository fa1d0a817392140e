#include "grammar/schema_json.h"

#include <cstdlib>
#include <set>
#include <utility>
#include <vector>

namespace mimo::grammar {
namespace {

// "a%20b~1c" -> "a b/c"
std::string unescaped(std::string_view step) {
  std::string plain;
  for (size_t i = 0; i < step.size(); ++i) {
    if (step[i] == '%' && i + 2 < step.size()) {
      plain.push_back(
          static_cast<char>(std::strtol(std::string(step.substr(i + 1, 2)).c_str(), nullptr, 16)));
      i += 2;
    } else {
      plain.push_back(step[i]);
    }
  }
  std::string name;
  for (size_t i = 0; i < plain.size(); ++i) {
    const bool escaped = plain[i] == '~' && i + 1 < plain.size();
    if (escaped) ++i;
    name.push_back(!escaped ? plain[i] : plain[i] == '1' ? '/' : '~');
  }
  return name;
}

}  // namespace

Result<Json> parse_json(std::string_view text, int32_t depth_max) {
  std::vector<std::set<std::string>> names;  // of the objects around the place being read
  std::string repeated;
  bool too_deep = false;
  const auto watch = [&](int depth, Json::parse_event_t event, Json& parsed) {
    if (depth > depth_max) too_deep = true;
    if (event == Json::parse_event_t::object_start) names.emplace_back();
    if (event == Json::parse_event_t::object_end) names.pop_back();
    if (event == Json::parse_event_t::key &&
        !names.back().insert(parsed.get_ref<const std::string&>()).second)
      repeated = parsed.get_ref<const std::string&>();
    return !too_deep;
  };
  Json value;
  try {
    value = Json::parse(text.begin(), text.end(), watch);
  } catch (const Json::exception& e) {
    return invalid_argument(std::string("not JSON: ") + e.what());
  }
  if (too_deep)
    return invalid_argument("deeper than " + std::to_string(depth_max) + " objects and arrays");
  if (!repeated.empty())
    return invalid_argument("an object has the name \"" + repeated + "\" twice");
  return value;
}

std::string pointer_to(const std::string& pointer, std::string_view step) {
  std::string longer = pointer + "/";
  for (const char c : step) {
    if (c == '~' || c == '/')
      longer += c == '~' ? "~0" : "~1";
    else
      longer += c;
  }
  return longer;
}

const Json* find_pointer(const Json& root, const std::string& reference) {
  if (reference.empty() || reference[0] != '#') return nullptr;
  const Json* at = &root;
  size_t start = 1;
  while (start < reference.size()) {
    if (reference[start] != '/') return nullptr;
    const size_t end = std::min(reference.find('/', start + 1), reference.size());
    const std::string name =
        unescaped(std::string_view(reference).substr(start + 1, end - start - 1));
    start = end;
    if (at->is_object()) {
      const auto found = at->find(name);
      if (found == at->end()) return nullptr;
      at = &*found;
    } else if (at->is_array()) {
      if (name.empty() || name.size() > 6 ||
          name.find_first_not_of("0123456789") != std::string::npos)
        return nullptr;
      const auto index = static_cast<size_t>(std::atoll(name.c_str()));
      if (index >= at->size()) return nullptr;
      at = &(*at)[index];
    } else {
      return nullptr;
    }
  }
  return at;
}

}  // namespace mimo::grammar
