// What stands behind `is`.
#include <string>
#include <unordered_map>

#include "coordinator/template/object.h"
#include "coordinator/template/operators.h"
#include "coordinator/template/printing.h"
#include "coordinator/template/registry.h"
#include "coordinator/template/text_pieces.h"

namespace mimo::chat {
namespace {

template <bool (*kHolds)(const Value&)>
Result<bool> simple(Machine&, const Value& subject, const Arguments& arguments) {
  TRY(bind(arguments, "this test", {}, 0));
  return kHolds(subject);
}

bool is_defined(const Value& value) { return !value.is_undefined(); }
bool is_undefined(const Value& value) { return value.is_undefined(); }
bool is_none(const Value& value) { return value.is_none(); }
bool is_boolean(const Value& value) { return value.is_bool(); }
bool is_true(const Value& value) { return value.is_bool() && value.as_bool(); }
bool is_false(const Value& value) { return value.is_bool() && !value.as_bool(); }
bool is_integer(const Value& value) { return value.is_integer() && !value.is_bool(); }
bool is_float(const Value& value) { return value.is_float(); }
bool is_number(const Value& value) { return value.is_number(); }
bool is_string(const Value& value) { return value.is_text(); }
bool is_mapping(const Value& value) { return value.is_dict(); }
bool is_escaped(const Value& value) { return value.is_markup(); }
bool is_iterable(const Value& value) { return iterate(value).ok(); }
// An undefined value can be called, only to fail.
bool is_callable(const Value& value) {
  return value.is_undefined() || (value.is_object() && value.as_object().is_callable());
}
bool is_sequence(const Value& value) {
  return value.is_undefined() || value.is_text() || value.is_sequence() || value.is_dict() ||
         value.as<RangeObject>() != nullptr;
}

template <int64_t kRest>
Result<bool> modulo_two(Machine& machine, const Value& subject, const Arguments& arguments) {
  TRY(bind(arguments, "tests 'odd' and 'even'", {}, 0));
  TRY_ASSIGN(const Value rest, compute(machine, Operator::kModulo, subject, Value::integer(2)));
  return equals(machine, rest, Value::integer(kRest));
}

Result<bool> divisible(Machine& machine, const Value& subject, const Arguments& arguments) {
  TRY_ASSIGN(const auto given, bind(arguments, "test 'divisibleby'", {"num"}, 1));
  TRY_ASSIGN(const Value rest, compute(machine, Operator::kModulo, subject, given[0]));
  return equals(machine, rest, Value::integer(0));
}

template <Operator kOp>
Result<bool> compared(Machine& machine, const Value& subject, const Arguments& arguments) {
  TRY_ASSIGN(const auto given, bind_positional(arguments, "a comparing test", 1, 1));
  return compare(machine, kOp, subject, given[0]);
}

Result<bool> is_in(Machine& machine, const Value& subject, const Arguments& arguments) {
  TRY_ASSIGN(const auto given, bind(arguments, "test 'in'", {"seq"}, 1));
  return contains(machine, given[0], subject);
}

Result<bool> same_as(Machine&, const Value& subject, const Arguments& arguments) {
  TRY_ASSIGN(const auto given, bind(arguments, "test 'sameas'", {"other"}, 1));
  return subject.same_as(given[0]);
}

template <bool (*kHolds)(std::string_view)>
Result<bool> cased(Machine& machine, const Value& subject, const Arguments& arguments) {
  TRY(bind(arguments, "tests 'upper' and 'lower'", {}, 0));
  TRY_ASSIGN(const std::string text, str(machine, subject));
  return kHolds(text);
}

template <bool kFilter>
Result<bool> is_known(Machine&, const Value& subject, const Arguments& arguments) {
  TRY(bind(arguments, "tests 'filter' and 'test'", {}, 0));
  if (!is_hashable(subject)) return invalid_argument("a list or dict is no name");
  if (!subject.is_text()) return false;
  return kFilter ? find_filter(subject.as_text()) != nullptr
                 : find_test(subject.as_text()) != nullptr;
}

using Table = std::unordered_map<std::string_view, Test>;

const Table& table() {
  static const Table tests{
      {"boolean", simple<is_boolean>},
      {"callable", simple<is_callable>},
      {"defined", simple<is_defined>},
      {"divisibleby", divisible},
      {"escaped", simple<is_escaped>},
      {"even", modulo_two<0>},
      {"false", simple<is_false>},
      {"filter", is_known<true>},
      {"float", simple<is_float>},
      {"in", is_in},
      {"integer", simple<is_integer>},
      {"iterable", simple<is_iterable>},
      {"lower", cased<is_lower_text>},
      {"mapping", simple<is_mapping>},
      {"none", simple<is_none>},
      {"number", simple<is_number>},
      {"odd", modulo_two<1>},
      {"sameas", same_as},
      {"sequence", simple<is_sequence>},
      {"string", simple<is_string>},
      {"test", is_known<false>},
      {"true", simple<is_true>},
      {"undefined", simple<is_undefined>},
      {"upper", cased<is_upper_text>},
      {"==", compared<Operator::kEqual>},
      {"eq", compared<Operator::kEqual>},
      {"equalto", compared<Operator::kEqual>},
      {"!=", compared<Operator::kNotEqual>},
      {"ne", compared<Operator::kNotEqual>},
      {">", compared<Operator::kGreater>},
      {"gt", compared<Operator::kGreater>},
      {"greaterthan", compared<Operator::kGreater>},
      {">=", compared<Operator::kGreaterEqual>},
      {"ge", compared<Operator::kGreaterEqual>},
      {"<", compared<Operator::kLess>},
      {"lt", compared<Operator::kLess>},
      {"lessthan", compared<Operator::kLess>},
      {"<=", compared<Operator::kLessEqual>},
      {"le", compared<Operator::kLessEqual>},
  };
  return tests;
}

}  // namespace

Test find_test(std::string_view name) {
  const auto found = table().find(name);
  return found == table().end() ? nullptr : found->second;
}

}  // namespace mimo::chat
