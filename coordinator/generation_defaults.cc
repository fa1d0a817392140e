#include "coordinator/generation_defaults.h"

#include <nlohmann/json.hpp>

#include "base/mapped_file.h"

namespace mimo::coordinator {
namespace {

using nlohmann::json;

Error bad_field(const std::string& path, const char* name, const json& value,
                const std::string& expected) {
  return invalid_argument(path + ": " + name + " = " + value.dump() + ": expected " + expected);
}

// `*value` stays as it is when the field is absent.
Result<void> read_number(const std::string& path, const json& object, const char* name, double low,
                         double high, double* value) {
  if (!object.contains(name)) return {};
  const json& field = object[name];
  if (!field.is_number()) return bad_field(path, name, field, "a number");
  const double read = field.get<double>();
  if (!(read >= low && read <= high))
    return bad_field(path, name, field,
                     "[" + std::to_string(low) + ", " + std::to_string(high) + "]");
  *value = read;
  return {};
}

}  // namespace

Result<void> apply_generation_defaults(const std::string& path, RequestLimits* limits) {
  TRY_ASSIGN(const std::string text, read_file(path, int64_t{1} << 20));
  const json object = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) return invalid_argument(path + ": expected a JSON object");
  double temperature = limits->temperature;
  double top_p = limits->top_p;
  double top_k = limits->top_k;
  TRY(read_number(path, object, "temperature", 0, 100, &temperature));
  TRY(read_number(path, object, "top_p", 1e-6, 1, &top_p));
  TRY(read_number(path, object, "top_k", 0, 1e6, &top_k));
  if (object.contains("do_sample")) {
    const json& field = object["do_sample"];
    if (!field.is_boolean()) return bad_field(path, "do_sample", field, "true or false");
    if (!field.get<bool>()) temperature = 0;
  }
  limits->temperature = static_cast<float>(temperature);
  limits->top_p = static_cast<float>(top_p);
  limits->top_k = static_cast<int32_t>(top_k);
  return {};
}

}  // namespace mimo::coordinator
