#include "checkpoint/strict_json.h"

#include <utility>
#include <vector>

namespace mimo::checkpoint {
namespace {

using Json = nlohmann::json;

// Builds the value and stops at the first thing that it may not hold.
class StrictBuilder final : public nlohmann::json_sax<Json> {
 public:
  explicit StrictBuilder(const JsonLimits& limits) : limits_(limits) {}

  bool null() override { return add(nullptr) != nullptr; }
  bool boolean(bool value) override { return add(value) != nullptr; }
  bool number_integer(int64_t value) override { return add(value) != nullptr; }
  bool number_unsigned(uint64_t value) override { return add(value) != nullptr; }
  bool number_float(double value, const std::string&) override { return add(value) != nullptr; }
  bool string(std::string& value) override { return add(std::move(value)) != nullptr; }
  bool binary(Json::binary_t&) override { return stop("holds binary data"); }
  bool start_object(size_t) override { return open(Json::object()); }
  bool end_object() override { return close(); }
  bool start_array(size_t) override { return open(Json::array()); }
  bool end_array() override { return close(); }
  bool key(std::string& name) override {
    if (stack_.back()->contains(name)) return stop("the key " + cite(name) + " is there twice");
    key_ = std::move(name);
    return true;
  }
  bool parse_error(size_t position, const std::string&, const Json::exception& error) override {
    const bool overflow = error.id == 406;  // the library's number for "number overflow"
    return stop((overflow ? "a number too large, at byte " : "not JSON at byte ") +
                std::to_string(position));
  }

  Json take() { return std::move(root_); }
  const std::string& reason() const { return reason_; }

 private:
  bool stop(std::string reason) {
    if (reason_.empty()) reason_ = std::move(reason);
    return false;
  }
  // The place where the value now is; null after stop().
  Json* add(Json value) {
    if (++num_values_ > limits_.values_max) {
      stop("more than " + std::to_string(limits_.values_max) + " values");
      return nullptr;
    }
    if (stack_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Json& parent = *stack_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return &parent.back();
    }
    return &(parent[key_] = std::move(value));
  }
  bool open(Json value) {
    if (static_cast<int32_t>(stack_.size()) >= limits_.depth_max) {
      return stop("nested deeper than " + std::to_string(limits_.depth_max));
    }
    Json* place = add(std::move(value));
    if (place == nullptr) return false;
    stack_.push_back(place);
    return true;
  }
  bool close() {
    stack_.pop_back();
    return true;
  }

  JsonLimits limits_;
  Json root_;
  std::vector<Json*> stack_;  // a child grows only while it is its parent's last: places stand
  std::string key_;
  std::string reason_;
  int64_t num_values_ = 0;
};

}  // namespace

Result<Json> parse_strict_json(std::string_view text, const JsonLimits& limits,
                               const std::string& source) {
  StrictBuilder builder(limits);
  const bool parsed = Json::sax_parse(text.data(), text.data() + text.size(), &builder);
  if (!parsed) return invalid_argument(source + ": " + builder.reason());
  Json value = builder.take();
  if (!value.is_object()) {
    return invalid_argument(source + ": expected a JSON object, found " + value.type_name());
  }
  return value;
}

std::string cite(std::string_view text) {
  constexpr size_t kShown = 100;
  constexpr char kHex[] = "0123456789abcdef";
  std::string out = "'";
  for (const char c : text.substr(0, kShown)) {
    const auto byte = static_cast<uint8_t>(c);
    if (byte >= 0x20 && byte < 0x7f) {
      out += c;
    } else {
      out += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return out + (text.size() > kShown ? "...'" : "'");
}

std::string cite(const Json& value) {
  if (value.is_string()) return cite(std::string_view(value.get_ref<const std::string&>()));
  const std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);
  return text.size() > 100 ? text.substr(0, 100) + "..." : text;
}

}  // namespace mimo::checkpoint
