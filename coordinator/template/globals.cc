#include "coordinator/template/globals.h"

#include <ctime>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>

#include "coordinator/template/machine.h"
#include "coordinator/template/object.h"
#include "coordinator/template/printing.h"

namespace mimo::chat {
namespace {

// As Jinja's sandbox has it.
constexpr int64_t kRangeMax = 100'000;
// Bounds within which sums of three stay in 64 bits.
constexpr int64_t kRangeBound = int64_t{1} << 60;

Result<Value> range(Machine&, const Arguments& arguments) {
  TRY_ASSIGN(const auto given, bind_positional(arguments, "range()", 1, 3));
  int64_t bounds[3] = {0, 0, 1};
  for (size_t i = 0; i < arguments.positional.size(); ++i) {
    TRY_ASSIGN(bounds[i], to_integer(given[i], 0, "range()'s argument"));
    if (bounds[i] > kRangeBound || bounds[i] < -kRangeBound)
      return invalid_argument("range()'s argument is too large");
  }
  if (arguments.positional.size() == 1) std::swap(bounds[0], bounds[1]);
  if (bounds[2] == 0) return invalid_argument("range()'s step is 0");
  auto made = std::make_shared<RangeObject>(bounds[0], bounds[1], bounds[2]);
  if (made->size() > kRangeMax)
    return invalid_argument("range() of " + std::to_string(made->size()) + " numbers, at most " +
                            std::to_string(kRangeMax));
  return Value::object(std::move(made));
}

// What dict() and namespace() are made of: a dict or pairs, then names.
Result<Dict> entries(Machine& machine, const Arguments& arguments) {
  Dict dict;
  if (arguments.positional.size() > 1)
    return invalid_argument("dict() and namespace() take one argument by position");
  if (!arguments.positional.empty() && arguments.positional[0].is_dict()) {
    dict = arguments.positional[0].as_dict();
  } else if (!arguments.positional.empty()) {
    TRY_ASSIGN(const auto pairs, items_of(machine, arguments.positional[0]));
    for (const Value& each : pairs) {
      TRY_ASSIGN(const auto pair, items_of(machine, each));
      if (pair.size() != 2)
        return invalid_argument("dict() is given " + std::to_string(pair.size()) +
                                " values, expected a key and a value");
      if (!dict.set(pair[0], pair[1])) return invalid_argument("a list or dict cannot be a key");
    }
  }
  for (const auto& [name, value] : arguments.named) dict.set(Value::text(name), value);
  return dict;
}

Result<Value> make_dict(Machine& machine, const Arguments& arguments) {
  TRY_ASSIGN(Dict made, entries(machine, arguments));
  return machine.dict(std::move(made));
}

Result<Value> make_namespace(Machine& machine, const Arguments& arguments) {
  TRY_ASSIGN(Dict made, entries(machine, arguments));
  return machine.make_namespace(std::move(made));
}

// Goes round its items.
class Cycler final : public Object {
 public:
  explicit Cycler(Value items) : items_(std::move(items)) {}

  const char* type_name() const override { return "Cycler"; }
  int32_t depth() const override { return items_.depth() + 1; }

  Result<bool> attribute(Machine&, std::string_view name, Value* value) override {
    if (name == "current") {
      *value = items_.items()[at_];
    } else if (name == "pos") {
      *value = Value::integer(static_cast<int64_t>(at_));
    } else if (name == "items") {
      *value = items_;
    } else if (name == "next" || name == "reset") {
      auto self = std::static_pointer_cast<Cycler>(shared_from_this());
      *value = make_object<Function>(
          "method",
          [self, moves = name == "next"](Machine&, const Arguments& arguments) -> Result<Value> {
            TRY(bind(arguments, "a cycler's method", {}, 0));
            const Value current = self->items_.items()[self->at_];
            self->at_ = moves ? (self->at_ + 1) % self->items_.items().size() : 0;
            return moves ? current : Value::none();
          },
          depth() + 1);
    } else {
      return false;
    }
    return true;
  }

 private:
  Value items_;
  size_t at_ = 0;
};

Result<Value> make_cycler(Machine& machine, const Arguments& arguments) {
  if (!arguments.named.empty()) return invalid_argument("cycler() takes no named argument");
  if (arguments.positional.empty()) return invalid_argument("cycler() needs an item");
  TRY_ASSIGN(Value items, machine.tuple(arguments.positional));
  return machine.object(std::make_shared<Cycler>(std::move(items)));
}

// Nothing when it is called first, its separator ever after.
Result<Value> make_joiner(Machine& machine, const Arguments& arguments) {
  TRY_ASSIGN(const auto given, bind(arguments, "joiner()", {"sep"}, 0));
  const Value separator = given[0].is_missing() ? Value::text(", ") : given[0];
  auto body = [separator, used = false](Machine&, const Arguments& none) mutable -> Result<Value> {
    TRY(bind(none, "a joiner", {}, 0));
    return std::exchange(used, true) ? separator : Value::text("");
  };
  return machine.object(
      std::make_shared<Function>("Joiner", std::move(body), separator.depth() + 1));
}

Result<Value> raise_exception(Machine& machine, const Arguments& arguments) {
  TRY_ASSIGN(const auto given, bind(arguments, "raise_exception()", {"message"}, 1));
  TRY_ASSIGN(std::string message, str(machine, given[0]));
  return machine.raise(std::move(message));
}

Result<Value> strftime_now(Machine& machine, const Arguments& arguments) {
  TRY_ASSIGN(const auto given, bind(arguments, "strftime_now()", {"format"}, 1));
  TRY_ASSIGN(const std::string format, to_text(given[0], "", "strftime_now()'s format"));
  // Python's naive times have no zone; microseconds are not told here.
  std::string plain;
  for (size_t i = 0; i < format.size(); ++i) {
    const char letter = format[i] == '%' && i + 1 < format.size() ? format[i + 1] : '\0';
    if (letter == 'f') plain += "000000";
    const bool replaced = letter == 'f' || letter == 'z' || letter == 'Z';
    if (!replaced) plain.push_back(format[i]);
    if (letter == '%') plain.push_back('%');
    if (replaced || letter == '%') ++i;
  }
  TRY(machine.fits(static_cast<int64_t>(plain.size())));
  if (plain.empty()) return Value::text("");
  // The longest of one conversion is far below 64 bytes; the mark tells "" from too small a buffer.
  plain.push_back('.');
  std::string out(plain.size() * 32 + 64, '\0');
  out.resize(std::strftime(out.data(), out.size(), plain.c_str(), &machine.now()));
  if (out.empty()) return invalid_argument("strftime_now() cannot write '" + format + "'");
  out.pop_back();
  return machine.text(std::move(out));
}

}  // namespace

Value find_global(std::string_view name) {
  using Body = Result<Value> (*)(Machine&, const Arguments&);
  static const std::unordered_map<std::string_view, Body> functions{
      {"cycler", make_cycler},        {"dict", make_dict}, {"joiner", make_joiner},
      {"namespace", make_namespace},  {"range", range},    {"raise_exception", raise_exception},
      {"strftime_now", strftime_now},
  };
  const auto found = functions.find(name);
  if (found == functions.end()) return Value();
  return make_object<Function>("function", found->second);
}

}  // namespace mimo::chat
