#include "coordinator/template/json_value.h"

#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "coordinator/template/object.h"
#include "coordinator/text/utf8.h"

namespace mimo::chat {
namespace {

using Json = nlohmann::ordered_json;

Result<Value> convert(const Json& json, int32_t levels);

Result<Value> convert_text(const std::string& text) {
  const size_t bad = text::find_invalid_utf8(text);
  if (bad == std::string::npos) return Value::text(text);
  return invalid_argument("is no UTF-8 at byte " + std::to_string(bad));
}

// "[0]: ..." and ".content: ..." grow into "messages[0].content: ...".
Error inside(const std::string& place, const Error& error) {
  const bool goes_on = error.message[0] == '[' || error.message[0] == '.';
  return {error.code, place + (goes_on ? "" : " ") + error.message};
}

Result<Value> convert_array(const Json& json, int32_t levels) {
  std::vector<Value> items;
  items.reserve(json.size());
  for (const Json& element : json) {
    auto item = convert(element, levels - 1);
    if (!item.ok()) return inside("[" + std::to_string(items.size()) + "]", item.error());
    items.push_back(std::move(item).value());
  }
  return Value::list(std::move(items));
}

Result<Value> convert_object(const Json& json, int32_t levels) {
  Dict dict;
  for (const auto& [key, element] : json.items()) {
    if (text::find_invalid_utf8(key) != std::string::npos)
      return invalid_argument("has a key that is no UTF-8");
    auto value = convert(element, levels - 1);
    if (!value.ok()) return inside("." + key, value.error());
    dict.append(key, std::move(value).value());
  }
  return Value::dict(std::move(dict));
}

Result<Value> convert(const Json& json, int32_t levels) {
  if (levels < 0) return invalid_argument("is nested too deep");
  switch (json.type()) {
    case Json::value_t::null:
      return Value::none();
    case Json::value_t::boolean:
      return Value::boolean(json.get<bool>());
    case Json::value_t::number_integer:
      return Value::integer(json.get<int64_t>());
    case Json::value_t::number_unsigned:
      if (json.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
        return make_object<WholeDigits>(json.dump());
      return Value::integer(json.get<int64_t>());
    case Json::value_t::number_float:
      return Value::real(json.get<double>());
    case Json::value_t::string:
      return convert_text(json.get_ref<const std::string&>());
    case Json::value_t::array:
      return convert_array(json, levels);
    case Json::value_t::object:
      return convert_object(json, levels);
    default:
      return invalid_argument("is not JSON");
  }
}

}  // namespace

Result<Value> from_json(const Json& json, int32_t nesting_max) {
  auto value = convert(json, nesting_max);
  if (value.ok()) return value;
  const std::string& message = value.error().message;
  const bool named = message[0] == '.';
  return invalid_argument("the template's context" + std::string(named ? ", " : " ") +
                          message.substr(named ? 1 : 0));
}

}  // namespace mimo::chat
