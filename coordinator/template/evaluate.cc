// The interpreter's expressions.
#include <utility>

#include "coordinator/template/attributes.h"
#include "coordinator/template/interpreter.h"
#include "coordinator/template/object.h"
#include "coordinator/template/operators.h"
#include "coordinator/template/printing.h"
#include "coordinator/template/registry.h"

namespace mimo::chat {

Result<Value> Interpreter::evaluate(const Expr& expr) {
  if (!machine_.spend(1)) return located(expr.line, machine_.exhausted());
  if (num_running_ >= machine_.limits().running_max) return located(expr.line, too_deep());
  ++num_running_;
  auto result = compute_expression(expr);
  --num_running_;
  if (!result.ok()) return located(expr.line, result.error());
  return result;
}

Result<Value> Interpreter::compute_expression(const Expr& expr) {
  switch (expr.kind) {
    case ExprKind::kConstant:
      return expr.constant;
    case ExprKind::kName: {
      const Value& value = variable(expr.variable);
      if (value.is_missing()) return Value::undefined("'" + expr.name + "' is undefined");
      return value;
    }
    case ExprKind::kTuple:
    case ExprKind::kList:
    case ExprKind::kDict:
      return evaluate_items(expr);
    case ExprKind::kNegate:
    case ExprKind::kPlus: {
      TRY_ASSIGN(const Value value, evaluate(*expr.items[0]));
      return expr.kind == ExprKind::kNegate ? negate(value) : plus(value);
    }
    case ExprKind::kBinary: {
      TRY_ASSIGN(const Value left, evaluate(*expr.items[0]));
      TRY_ASSIGN(const Value right, evaluate(*expr.items[1]));
      return compute(machine_, expr.op, left, right);
    }
    case ExprKind::kNot:
    case ExprKind::kAnd:
    case ExprKind::kOr:
    case ExprKind::kCondition:
      return evaluate_logic(expr);
    case ExprKind::kConcat:
      return evaluate_concatenation(expr);
    case ExprKind::kCompare:
      return evaluate_comparison(expr);
    case ExprKind::kAttribute: {
      TRY_ASSIGN(const Value value, evaluate(*expr.items[0]));
      return get_attribute(machine_, value, expr.name);
    }
    case ExprKind::kItem: {
      TRY_ASSIGN(const Value value, evaluate(*expr.items[0]));
      TRY_ASSIGN(const Value key, evaluate(*expr.items[1]));
      return get_item(machine_, value, key);
    }
    case ExprKind::kSlice:
      return evaluate_slice(expr);
    case ExprKind::kCall:
      return call(expr, nullptr);
    case ExprKind::kFilter:
    case ExprKind::kTest:
      return evaluate_applied(expr);
    case ExprKind::kMember:
      break;  // a target, never a value
  }
  return invalid_argument("this is not an expression");
}

Result<Value> Interpreter::evaluate_items(const Expr& expr) {
  if (expr.kind == ExprKind::kDict) {
    Dict dict;
    for (size_t i = 0; i < expr.items.size(); i += 2) {
      TRY_ASSIGN(Value key, evaluate(*expr.items[i]));
      TRY_ASSIGN(Value value, evaluate(*expr.items[i + 1]));
      if (!dict.set(std::move(key), std::move(value)))
        return invalid_argument("a list or dict cannot be a key");
    }
    return machine_.dict(std::move(dict));
  }
  std::vector<Value> items;
  for (const ExprPtr& item : expr.items) {
    TRY_ASSIGN(Value value, evaluate(*item));
    items.push_back(std::move(value));
  }
  return expr.kind == ExprKind::kList ? machine_.list(std::move(items))
                                      : machine_.tuple(std::move(items));
}

Result<Value> Interpreter::evaluate_logic(const Expr& expr) {
  // a if b else c looks at b first.
  const bool conditional = expr.kind == ExprKind::kCondition;
  TRY_ASSIGN(Value first, evaluate(*expr.items[conditional ? 1 : 0]));
  TRY_ASSIGN(const bool holds, truth(machine_, first));
  switch (expr.kind) {
    case ExprKind::kNot:
      return Value::boolean(!holds);
    case ExprKind::kAnd:
      return holds ? evaluate(*expr.items[1]) : first;
    case ExprKind::kOr:
      return holds ? first : evaluate(*expr.items[1]);
    default:
      break;
  }
  if (holds) return evaluate(*expr.items[0]);
  if (expr.items[2] != nullptr) return evaluate(*expr.items[2]);
  return Value::undefined("the condition is false and there is no 'else'");
}

Result<Value> Interpreter::evaluate_comparison(const Expr& expr) {
  TRY_ASSIGN(Value left, evaluate(*expr.items[0]));
  for (size_t i = 0; i < expr.ops.size(); ++i) {
    TRY_ASSIGN(Value right, evaluate(*expr.items[i + 1]));
    TRY_ASSIGN(const bool holds, compare(machine_, expr.ops[i], left, right));
    if (!holds) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

Result<Value> Interpreter::evaluate_concatenation(const Expr& expr) {
  std::vector<Value> values;
  for (const ExprPtr& item : expr.items) {
    TRY_ASSIGN(Value value, evaluate(*item));
    values.push_back(std::move(value));
  }
  std::string text;
  for (const Value& value : values) TRY(append_str(machine_, value, &text));
  return machine_.text(std::move(text));
}

Result<Value> Interpreter::evaluate_slice(const Expr& expr) {
  TRY_ASSIGN(const Value value, evaluate(*expr.items[0]));
  Value bounds[3];
  for (size_t i = 0; i < 3; ++i) {
    if (expr.items[i + 1] == nullptr) continue;
    TRY_ASSIGN(bounds[i], evaluate(*expr.items[i + 1]));
  }
  return get_slice(machine_, value, bounds[0], bounds[1], bounds[2]);
}

Result<Value> Interpreter::evaluate_applied(const Expr& expr) {
  Value value;
  if (expr.items[0] == nullptr) {
    value = std::exchange(subject_, Value());
  } else {
    TRY_ASSIGN(value, evaluate(*expr.items[0]));
  }
  TRY_ASSIGN(const Arguments given, evaluate_arguments(expr.call));
  if (expr.kind == ExprKind::kFilter) return apply_filter(machine_, expr.name, value, given);
  TRY_ASSIGN(const bool holds, apply_test(machine_, expr.name, value, given));
  return Value::boolean(holds);
}

Result<Arguments> Interpreter::evaluate_arguments(const CallArguments& call) {
  Arguments result;
  for (const ExprPtr& expr : call.positional) {
    TRY_ASSIGN(Value value, evaluate(*expr));
    result.positional.push_back(std::move(value));
  }
  for (const auto& [name, expr] : call.named) {
    TRY_ASSIGN(Value value, evaluate(*expr));
    result.named.emplace_back(name, std::move(value));
  }
  if (call.more != nullptr) {
    TRY_ASSIGN(const Value value, evaluate(*call.more));
    TRY_ASSIGN(const std::vector<Value> items, items_of(machine_, value));
    result.positional.insert(result.positional.end(), items.begin(), items.end());
  }
  if (call.more_named != nullptr) {
    TRY_ASSIGN(const Value value, evaluate(*call.more_named));
    if (!value.is_dict())
      return invalid_argument(std::string("** is given ") + value.type_name() + ", expected dict");
    for (const auto& [key, item] : value.as_dict().entries()) {
      if (!key.is_text()) return invalid_argument("** is given a key that is not a str");
      for (const auto& [name, known] : result.named) {
        if (name == key.as_text())
          return invalid_argument("argument '" + name + "' is given twice");
      }
      result.named.emplace_back(key.as_text(), item);
    }
  }
  return result;
}

// expr.items[0](...), with `caller` handed on unless it is null.
Result<Value> Interpreter::call(const Expr& expr, const Value* caller) {
  TRY_ASSIGN(const Value callee, evaluate(*expr.items[0]));
  TRY_ASSIGN(Arguments given, evaluate_arguments(expr.call));
  if (caller != nullptr) given.named.emplace_back("caller", *caller);
  if (callee.is_object()) return callee.as_object().call(machine_, given);
  if (callee.is_undefined()) return invalid_argument(callee.undefined_reason());
  return invalid_argument(std::string("a ") + callee.type_name() + " cannot be called");
}

}  // namespace mimo::chat
