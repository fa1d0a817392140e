#include "coordinator/template/interpreter.h"

#include <utility>

#include "coordinator/template/globals.h"
#include "coordinator/template/lexer.h"
#include "coordinator/template/loop.h"
#include "coordinator/template/macro.h"
#include "coordinator/template/object.h"
#include "coordinator/template/printing.h"

namespace mimo::chat {

Error Interpreter::located(int32_t line, Error error) {
  if (located_ || machine_.was_raised()) return error;
  located_ = true;
  return at_line(line, error.message);
}

Error Interpreter::too_deep() const {
  return invalid_argument("the template runs more than " +
                          std::to_string(machine_.limits().running_max) + " levels deep");
}

Result<std::string> Interpreter::run() {
  Activation root;
  root.slots.resize(static_cast<size_t>(program_.root.num_slots));
  here_ = &root;
  std::string out;
  out_ = &out;
  enter(program_.scope);
  TRY(run_block(program_.body));
  return out;
}

Value& Interpreter::variable(const VariableRef& ref) {
  Activation* activation = here_;
  for (int32_t i = 0; i < ref.up; ++i) activation = activation->outer;
  return activation->slots[static_cast<size_t>(ref.slot)];
}

Value Interpreter::look_up(const std::string& name) const {
  if (const Value* found = context_.find(std::string_view(name))) return *found;
  return find_global(name);
}

void Interpreter::enter(const Scope& scope) {
  for (const Load& load : scope.loads) {
    Value value;
    if (load.action == Load::Action::kResolve) value = look_up(load.name);
    if (load.action == Load::Action::kAlias) value = variable(load.outer);
    here_->slots[static_cast<size_t>(load.slot)] = std::move(value);
  }
}

Result<void> Interpreter::assign(const Expr& target, Value value) {
  if (target.kind == ExprKind::kName) {
    variable(target.variable) = std::move(value);
    return {};
  }
  if (target.kind == ExprKind::kMember) {
    auto* name_space = variable(target.variable).as<Namespace>();
    if (name_space == nullptr)
      return located(target.line,
                     invalid_argument("cannot assign attribute '" + target.attribute + "' of '" +
                                      target.name + "', which is no namespace"));
    name_space->set(target.attribute, std::move(value));
    return {};
  }
  auto items = items_of(machine_, value);
  if (!items.ok()) return located(target.line, items.error());
  if (items.value().size() != target.items.size())
    return located(target.line,
                   invalid_argument(std::to_string(items.value().size()) + " values for " +
                                    std::to_string(target.items.size()) + " names"));
  for (size_t i = 0; i < target.items.size(); ++i)
    TRY(assign(*target.items[i], std::move(items.value()[i])));
  return {};
}

// What was assigned to the target, as a value again.
Result<Value> Interpreter::assigned(const Expr& target) {
  if (target.kind != ExprKind::kTuple) return variable(target.variable);
  std::vector<Value> items;
  for (const ExprPtr& item : target.items) {
    TRY_ASSIGN(Value value, assigned(*item));
    items.push_back(std::move(value));
  }
  return machine_.tuple(std::move(items));
}

Result<Interpreter::Flow> Interpreter::run_block(const Block& block) {
  for (const StmtPtr& stmt : block) {
    TRY_ASSIGN(const Flow flow, run(*stmt));
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Result<Interpreter::Flow> Interpreter::run(const Stmt& stmt) {
  if (!machine_.spend(1)) return located(stmt.line, machine_.exhausted());
  if (num_running_ >= machine_.limits().running_max) return located(stmt.line, too_deep());
  ++num_running_;
  auto result = run_plain(stmt);
  --num_running_;
  if (!result.ok()) return located(stmt.line, result.error());
  return result;
}

Result<Interpreter::Flow> Interpreter::run_plain(const Stmt& stmt) {
  switch (stmt.kind) {
    case StmtKind::kData:
      out_->append(stmt.text);
      TRY(machine_.fits(static_cast<int64_t>(out_->size())));
      return Flow::kNext;
    case StmtKind::kPrint: {
      TRY_ASSIGN(const Value value, evaluate(*stmt.value));
      TRY(append_str(machine_, value, out_));
      return Flow::kNext;
    }
    case StmtKind::kIf: {
      TRY_ASSIGN(const Value value, evaluate(*stmt.value));
      TRY_ASSIGN(const bool holds, truth(machine_, value));
      return run_block(holds ? stmt.body : stmt.other);
    }
    case StmtKind::kSet: {
      TRY_ASSIGN(Value value, evaluate(*stmt.value));
      TRY(assign(*stmt.target, std::move(value)));
      return Flow::kNext;
    }
    case StmtKind::kFor:
      return run_loop(stmt);
    case StmtKind::kSetBlock:
    case StmtKind::kFilter:
      return run_captured(stmt);
    case StmtKind::kMacro:
      variable(stmt.target->variable) = make_object<MacroObject>(*this, stmt, here_);
      return Flow::kNext;
    case StmtKind::kCall:
      return run_call(stmt);
    case StmtKind::kWith:
      return run_with(stmt);
    case StmtKind::kBreak:
      return Flow::kBreak;
    case StmtKind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kNext;
}

// What a block gives has to be a string already.
Result<void> Interpreter::append_text(const Value& value) {
  if (value.is_text()) return append_str(machine_, value, out_);
  return invalid_argument(std::string("a block gives ") + value.type_name() + ", expected str");
}

// {% set x %} and {% filter f %}: the body's text, through the filters.
Result<Interpreter::Flow> Interpreter::run_captured(const Stmt& stmt) {
  std::string text;
  std::string* const outside = std::exchange(out_, &text);
  enter(stmt.scope);
  auto ended = run_block(stmt.body);
  out_ = outside;
  TRY_ASSIGN(const Flow flow, std::move(ended));
  if (flow != Flow::kNext) return flow;
  TRY_ASSIGN(Value value, machine_.text(std::move(text)));
  if (stmt.value != nullptr) {
    subject_ = std::move(value);
    TRY_ASSIGN(value, evaluate(*stmt.value));
  }
  if (stmt.kind == StmtKind::kFilter) {
    TRY(append_text(value));
  } else {
    TRY(assign(*stmt.target, std::move(value)));
  }
  return Flow::kNext;
}

Result<Interpreter::Flow> Interpreter::run_with(const Stmt& stmt) {
  std::vector<Value> values;
  for (const ExprPtr& expr : stmt.values) {
    TRY_ASSIGN(Value value, evaluate(*expr));
    values.push_back(std::move(value));
  }
  enter(stmt.scope);
  for (size_t i = 0; i < values.size(); ++i) TRY(assign(*stmt.params[i], std::move(values[i])));
  return run_block(stmt.body);
}

// {% call %} hands its body to what it calls; {% generation %} is its body alone.
Result<Interpreter::Flow> Interpreter::run_call(const Stmt& stmt) {
  if (stmt.value == nullptr) {
    TRY_ASSIGN(const Value text, call_macro(stmt, here_, {}));
    TRY(append_str(machine_, text, out_));
    return Flow::kNext;
  }
  const Value caller = make_object<MacroObject>(*this, stmt, here_);
  TRY_ASSIGN(const Value value, call(*stmt.value, &caller));
  TRY(append_text(value));
  return Flow::kNext;
}

Result<std::shared_ptr<Iterator>> Interpreter::tested(const Stmt& loop,
                                                      std::shared_ptr<Iterator> source) {
  const int32_t depth = source->depth();
  auto next = [this, &loop, source = std::move(source), home = here_, entered = false](
                  Machine& machine, Value* item) mutable -> Result<bool> {
    // It may be asked from within a macro that the loop calls.
    Activation* const outside = std::exchange(here_, home);
    if (!std::exchange(entered, true)) enter(loop.test_scope);
    const auto search = [&]() -> Result<bool> {
      Value each;
      while (true) {
        if (!machine.spend(1)) return machine.exhausted();
        TRY_ASSIGN(const bool more, source->next(machine, &each));
        if (!more) return false;
        TRY(assign(*loop.test_target, std::move(each)));
        TRY_ASSIGN(const Value verdict, evaluate(*loop.test));
        TRY_ASSIGN(const bool holds, truth(machine, verdict));
        if (!holds) continue;
        TRY_ASSIGN(*item, assigned(*loop.test_target));
        return true;
      }
    };
    auto found = search();
    here_ = outside;
    return found;
  };
  TRY_ASSIGN(const Value made,
             machine_.object(std::make_shared<Generator>(std::move(next), depth)));
  return iterate(made);
}

Result<Interpreter::Flow> Interpreter::run_loop(const Stmt& loop) {
  TRY_ASSIGN(const Value value, evaluate(*loop.value));
  TRY_ASSIGN(auto source, iterate(value));
  int64_t length = -1;
  if (loop.test != nullptr) {
    TRY_ASSIGN(source, tested(loop, std::move(source)));
  } else {
    TRY_ASSIGN(length, length_of(machine_, value));
  }
  std::shared_ptr<LoopObject> state;
  if (loop.loop_slot >= 0) {
    state = std::make_shared<LoopObject>(source, length);
    TRY(machine_.object(state));
    source = state;
  }
  bool completed = false;
  while (true) {
    if (!machine_.spend(1)) return machine_.exhausted();
    Value item;
    TRY_ASSIGN(const bool more, source->next(machine_, &item));
    if (!more) break;
    TRY(assign(*loop.target, std::move(item)));
    if (state != nullptr) here_->slots[static_cast<size_t>(loop.loop_slot)] = Value::object(state);
    enter(loop.scope);
    TRY_ASSIGN(const Flow flow, run_block(loop.body));
    if (flow == Flow::kBreak) break;
    // What is left out by `continue` does not count: `else` runs unless some turn was whole.
    if (flow == Flow::kNext) completed = true;
  }
  if (completed || loop.other.empty()) return Flow::kNext;
  enter(loop.other_scope);
  return run_block(loop.other);
}

}  // namespace mimo::chat
