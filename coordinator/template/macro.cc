#include "coordinator/template/macro.h"

#include <algorithm>
#include <utility>

#include "coordinator/template/printing.h"

namespace mimo::chat {

Result<std::string> MacroObject::repr(Machine&) const {
  return is_named() ? "<Macro " + text_repr(macro_.text) + ">" : std::string("<Macro anonymous>");
}

Result<Value> MacroObject::call(Machine&, const Arguments& arguments) {
  return interpreter_.call_macro(macro_, defined_in_, arguments);
}

Result<bool> MacroObject::attribute(Machine&, std::string_view name, Value* value) {
  const Routine& routine = macro_.routine;
  if (name == "name") {
    *value = is_named() ? Value::text(macro_.text) : Value::none();
  } else if (name == "arguments") {
    std::vector<Value> names;
    for (const ExprPtr& param : routine.params) names.push_back(Value::text(param->name));
    *value = Value::tuple(std::move(names));
  } else if (name == "caller") {
    *value = Value::boolean(routine.caller_slot >= 0);
  } else if (name == "catch_kwargs") {
    *value = Value::boolean(routine.named_slot >= 0);
  } else if (name == "catch_varargs") {
    *value = Value::boolean(routine.variadic_slot >= 0);
  } else {
    return false;
  }
  return true;
}

Result<Value> Interpreter::call_macro(const Stmt& macro, Activation* defined_in,
                                      const Arguments& arguments) {
  if (num_calls_ >= machine_.limits().calls_max)
    return invalid_argument("macros call each other more than " +
                            std::to_string(machine_.limits().calls_max) + " deep");
  auto inside = std::make_unique<Activation>();
  Activation* const activation = inside.get();
  activation->slots.resize(static_cast<size_t>(macro.routine.num_slots));
  activation->outer = defined_in;
  if (!machine_.spend(macro.routine.num_slots)) return machine_.exhausted();
  if (macro.routine.has_inner) kept_.push_back(std::move(inside));

  ++num_calls_;
  std::string text;
  std::string* const out = std::exchange(out_, &text);
  Activation* const outside = std::exchange(here_, activation);
  const auto body = [&]() -> Result<void> {
    enter(macro.scope);
    TRY(bind_parameters(macro, arguments, activation));
    TRY(run_block(macro.body));
    return {};
  };
  auto ended = body();
  here_ = outside;
  out_ = out;
  --num_calls_;
  TRY(std::move(ended));
  return machine_.text(std::move(text));
}

// Positions first, then names, then defaults, which may speak of the parameters before them.
Result<void> Interpreter::bind_parameters(const Stmt& macro, const Arguments& arguments,
                                          Activation* inside) {
  const Routine& routine = macro.routine;
  const size_t num_params = routine.params.size();
  const size_t num_positional = std::min(num_params, arguments.positional.size());
  auto named = arguments.named;
  std::vector<bool> given(num_params);
  for (size_t i = 0; i < num_params; ++i) {
    Value& slot = variable(routine.params[i]->variable);
    slot = Value();
    if (i < num_positional) {
      slot = arguments.positional[i];
      given[i] = true;
      continue;
    }
    const auto found = std::find_if(named.begin(), named.end(), [&](const auto& argument) {
      return argument.first == routine.params[i]->name;
    });
    if (found == named.end()) continue;
    slot = std::move(found->second);
    given[i] = true;
    named.erase(found);
  }
  TRY(bind_rest(macro, std::move(named), arguments, inside));
  const size_t first_default = num_params - routine.defaults.size();
  for (size_t i = 0; i < num_params; ++i) {
    if (given[i]) continue;
    Value value = Value::undefined("parameter '" + routine.params[i]->name + "' was not provided");
    if (i >= first_default) {
      TRY_ASSIGN(value, evaluate(*routine.defaults[i - first_default]));
    }
    variable(routine.params[i]->variable) = std::move(value);
  }
  return {};
}

// caller, kwargs and varargs where the body speaks of them; what is left over is refused.
Result<void> Interpreter::bind_rest(const Stmt& macro,
                                    std::vector<std::pair<std::string, Value>> named,
                                    const Arguments& arguments, Activation* inside) {
  const Routine& routine = macro.routine;
  const size_t num_params = routine.params.size();
  const std::string who = macro.text.empty() ? "a call block's body" : "macro '" + macro.text + "'";
  if (routine.caller_slot >= 0) {
    Value caller = Value::undefined("no caller is defined");
    const auto found = std::find_if(named.begin(), named.end(), [](const auto& argument) {
      return argument.first == "caller";
    });
    if (found != named.end()) {
      if (!found->second.is_none()) caller = std::move(found->second);
      named.erase(found);
    }
    inside->slots[static_cast<size_t>(routine.caller_slot)] = std::move(caller);
  }
  if (routine.named_slot >= 0) {
    Dict rest;
    for (auto& [name, value] : named) rest.append(name, std::move(value));
    TRY_ASSIGN(inside->slots[static_cast<size_t>(routine.named_slot)],
               machine_.dict(std::move(rest)));
  } else if (!named.empty()) {
    return invalid_argument(who + " takes no argument named '" + named.front().first + "'");
  }
  std::vector<Value> rest;
  for (size_t i = num_params; i < arguments.positional.size(); ++i)
    rest.push_back(arguments.positional[i]);
  if (routine.variadic_slot >= 0) {
    TRY_ASSIGN(inside->slots[static_cast<size_t>(routine.variadic_slot)],
               machine_.tuple(std::move(rest)));
  } else if (!rest.empty()) {
    return invalid_argument(who + " takes " + std::to_string(num_params) + " arguments, got " +
                            std::to_string(arguments.positional.size()));
  }
  return {};
}

}  // namespace mimo::chat
