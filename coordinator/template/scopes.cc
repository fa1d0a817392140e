#include "coordinator/template/scopes.h"

#include <functional>
#include <initializer_list>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "coordinator/template/lexer.h"
#include "coordinator/template/mentions.h"

namespace mimo::chat {
namespace {

// A macro's body, a call block's, or the template's.
struct FunctionContext {
  FunctionContext* outer = nullptr;
  Routine* routine = nullptr;
  int32_t level = 0;
};

// A variable as the analysis sees it.
struct Variable {
  const FunctionContext* function = nullptr;
  int32_t slot = -1;
};

// What is known of the names of one scope.
struct Names {
  Names* outer = nullptr;
  FunctionContext* function = nullptr;
  std::map<std::string, Variable> known;
  std::map<int32_t, Load> loads;  // by slot
  std::set<std::string> stored;
  std::map<std::string, int32_t>* slots = nullptr;  // one slot a name, in all branches

  const Variable* find(const std::string& name) const {
    for (const Names* names = this; names != nullptr; names = names->outer) {
      const auto found = names->known.find(name);
      if (found != names->known.end()) return &found->second;
    }
    return nullptr;
  }

  int32_t define(const std::string& name, std::optional<Load> load) {
    const auto [entry, is_new] = slots->try_emplace(name, function->routine->num_slots);
    if (is_new) ++function->routine->num_slots;
    const int32_t slot = entry->second;
    known[name] = {function, slot};
    loads.erase(slot);
    if (load.has_value()) {
      load->slot = slot;
      load->name = name;
      loads[slot] = std::move(*load);
    }
    return slot;
  }

  VariableRef reference(const Variable& variable) const {
    return {function->level - variable.function->level, variable.slot};
  }

  // How a name that a scope sets begins.
  Load beginning(const std::string& name, Load::Action otherwise) const {
    Load load;
    load.action = otherwise;
    const Variable* above = outer == nullptr ? nullptr : outer->find(name);
    if (above != nullptr) {
      load.action = Load::Action::kAlias;
      load.outer = reference(*above);
    }
    return load;
  }

  void load(const std::string& name) {
    if (find(name) != nullptr) return;
    Load load;
    load.action = Load::Action::kResolve;
    define(name, load);
  }

  void store(const std::string& name) {
    stored.insert(name);
    if (known.find(name) == known.end()) define(name, beginning(name, Load::Action::kMissing));
  }

  int32_t declare_parameter(const std::string& name) {
    stored.insert(name);
    return define(name, std::nullopt);
  }

  // After branches, of which only one runs: what only they set starts as it was outside.
  void merge(const std::initializer_list<Names>& branches) {
    std::set<std::string> new_stores;
    for (const Names& branch : branches) {
      for (const std::string& name : branch.stored) {
        if (stored.find(name) == stored.end()) new_stores.insert(name);
      }
    }
    for (const Names& branch : branches) {
      for (const auto& [name, variable] : branch.known) known[name] = variable;
      for (const auto& [slot, load] : branch.loads) loads[slot] = load;
      stored.insert(branch.stored.begin(), branch.stored.end());
    }
    for (const std::string& name : new_stores) {
      Load load = beginning(name, Load::Action::kResolve);
      load.slot = find(name)->slot;
      load.name = name;
      loads[load.slot] = std::move(load);
    }
  }
};

void load_names(Names& names, const Expr& expr) {
  if (expr.kind == ExprKind::kName || expr.kind == ExprKind::kMember) names.load(expr.name);
  for_each_child(expr, [&](const Expr& child) { load_names(names, child); });
}

void store_names(Names& names, const Expr& target, bool as_parameter) {
  if (target.kind == ExprKind::kName) {
    if (as_parameter) {
      names.declare_parameter(target.name);
    } else {
      names.store(target.name);
    }
  } else if (target.kind == ExprKind::kMember) {
    names.load(target.name);
  }
  for_each_child(target, [&](const Expr& child) { store_names(names, child, as_parameter); });
}

// What a scope's statements read and set, inner scopes left out.
void analyze(Names& names, const Block& block);

void analyze(Names& names, const Stmt& stmt) {
  switch (stmt.kind) {
    case StmtKind::kIf: {
      load_names(names, *stmt.value);
      Names body = names;
      Names other = names;
      analyze(body, stmt.body);
      analyze(other, stmt.other);
      names.merge({body, other});
      break;
    }
    case StmtKind::kSet:
    case StmtKind::kSetBlock:
      if (stmt.value != nullptr) load_names(names, *stmt.value);
      store_names(names, *stmt.target, false);
      break;
    case StmtKind::kMacro:
      names.store(stmt.text);
      break;
    case StmtKind::kWith:
      for (const ExprPtr& value : stmt.values) load_names(names, *value);
      break;
    default:
      if (stmt.value != nullptr) load_names(names, *stmt.value);
      break;
  }
}

void analyze(Names& names, const Block& block) {
  for (const StmtPtr& stmt : block) analyze(names, *stmt);
}

bool assigns(const Expr& target, std::string_view name) {
  bool found = target.kind == ExprKind::kName && target.name == name;
  for_each_child(target, [&](const Expr& child) { found = found || assigns(child, name); });
  return found;
}

// Line of an assignment to `loop` somewhere in a loop; 0: there is none.
int32_t loop_assignment(const Stmt& stmt) {
  if (stmt.target != nullptr && assigns(*stmt.target, "loop")) return stmt.line;
  for (const Block* block : {&stmt.body, &stmt.other}) {
    for (const StmtPtr& inner : *block) {
      if (const int32_t line = loop_assignment(*inner); line > 0) return line;
    }
  }
  return 0;
}

// Second pass: every name gets its variable, every scope its loads.
class Resolver final {
 public:
  Result<Program> run(Block body) {
    Program program;
    program.body = std::move(body);
    FunctionContext root;
    root.routine = &program.root;
    // Slots are counted in place, so the routine has to stay where it is until all are known.
    TRY(scope(
        nullptr, &root, [&](Names& names) { analyze(names, program.body); },
        [&](Names& names) { return block(names, program.body); }, &program.scope));
    return program;
  }

 private:
  using Analysis = std::function<void(Names&)>;
  using Inside = std::function<Result<void>(Names&)>;

  Result<void> scope(Names* outer, FunctionContext* function, const Analysis& analysis,
                     const Inside& inside, Scope* result) {
    std::map<std::string, int32_t> slots;
    Names names;
    names.outer = outer;
    names.function = function;
    names.slots = &slots;
    analysis(names);
    for (const auto& [slot, load] : names.loads) result->loads.push_back(load);
    return inside(names);
  }

  void expression(Names& names, const ExprPtr& expr) {
    if (expr != nullptr) expression(names, *expr);
  }
  void expression(Names& names, Expr& expr) {
    if (expr.kind == ExprKind::kName || expr.kind == ExprKind::kMember)
      expr.variable = names.reference(*names.find(expr.name));
    for_each_child(expr, [&](const Expr& child) { expression(names, const_cast<Expr&>(child)); });
  }

  Result<void> block(Names& names, Block& statements) {
    for (const StmtPtr& stmt : statements) TRY(statement(names, *stmt));
    return {};
  }

  Result<void> statement(Names& names, Stmt& stmt) {
    switch (stmt.kind) {
      case StmtKind::kIf:
        expression(names, stmt.value);
        TRY(block(names, stmt.body));
        return block(names, stmt.other);
      case StmtKind::kFor:
        return loop(names, stmt);
      case StmtKind::kMacro:
        // Its name is a variable around it.
        stmt.target = std::make_unique<Expr>();
        stmt.target->kind = ExprKind::kName;
        stmt.target->name = stmt.text;
        expression(names, stmt.target);
        return routine(names, stmt);
      case StmtKind::kCall:
        expression(names, stmt.value);
        return routine(names, stmt);
      case StmtKind::kSetBlock:
      case StmtKind::kFilter:
        expression(names, stmt.target);
        expression(names, stmt.value);
        return scope(
            &names, names.function, [&](Names& inner) { analyze(inner, stmt.body); },
            [&](Names& inner) { return block(inner, stmt.body); }, &stmt.scope);
      case StmtKind::kWith:
        for (const ExprPtr& value : stmt.values) expression(names, value);
        return scope(
            &names, names.function,
            [&](Names& inner) {
              for (const ExprPtr& param : stmt.params) store_names(inner, *param, true);
              analyze(inner, stmt.body);
            },
            [&](Names& inner) {
              for (const ExprPtr& param : stmt.params) expression(inner, param);
              return block(inner, stmt.body);
            },
            &stmt.scope);
      default:
        expression(names, stmt.value);
        expression(names, stmt.target);
        return {};
    }
  }

  Result<void> loop(Names& names, Stmt& stmt) {
    if (const int32_t line = loop_assignment(stmt); line > 0)
      return at_line(line, "cannot assign to 'loop' within a loop");
    expression(names, stmt.value);
    const Mentions mentions({"loop"}, stmt.body);
    if (stmt.test != nullptr) {
      // The test has variables of its own; its target's are those of `test_target`.
      TRY(scope(
          &names, names.function,
          [&](Names& inner) {
            store_names(inner, *stmt.target, true);
            load_names(inner, *stmt.test);
          },
          [&](Names& inner) {
            stmt.test_target = copy_target(*stmt.target);
            expression(inner, stmt.test_target);
            expression(inner, stmt.test);
            return Result<void>();
          },
          &stmt.test_scope));
    }
    TRY(scope(
        &names, names.function,
        [&](Names& inner) {
          if (mentions.has("loop")) stmt.loop_slot = inner.declare_parameter("loop");
          store_names(inner, *stmt.target, true);
          analyze(inner, stmt.body);
        },
        [&](Names& inner) {
          expression(inner, stmt.target);
          return block(inner, stmt.body);
        },
        &stmt.scope));
    return scope(
        &names, names.function, [&](Names& inner) { analyze(inner, stmt.other); },
        [&](Names& inner) { return block(inner, stmt.other); }, &stmt.other_scope);
  }

  static ExprPtr copy_target(const Expr& target) {
    auto copy = std::make_unique<Expr>();
    copy->kind = target.kind;
    copy->line = target.line;
    copy->name = target.name;
    for (const ExprPtr& item : target.items) copy->items.push_back(copy_target(*item));
    return copy;
  }

  Result<void> routine(Names& names, Stmt& stmt) {
    names.function->routine->has_inner = true;
    FunctionContext inside{names.function, &stmt.routine, names.function->level + 1};
    const Mentions mentions({"caller", "kwargs", "varargs"}, stmt.body);
    const size_t num_required = stmt.routine.params.size() - stmt.routine.defaults.size();
    for (size_t i = 0; i < num_required; ++i) {
      if (stmt.routine.params[i]->name == "caller" && mentions.has("caller"))
        return at_line(stmt.line, "the special parameter 'caller' has to have a default");
    }
    const auto analysis = [&](Names& inner) {
      Routine& made = stmt.routine;
      for (const ExprPtr& param : made.params) inner.declare_parameter(param->name);
      const auto special = [&](const char* name) {
        const bool wanted = mentions.has(name) && inner.known.find(name) == inner.known.end();
        return wanted ? inner.declare_parameter(name) : -1;
      };
      made.caller_slot = special("caller");
      made.named_slot = special("kwargs");
      made.variadic_slot = special("varargs");
      for (const ExprPtr& value : made.defaults) load_names(inner, *value);
      analyze(inner, stmt.body);
    };
    return scope(
        &names, &inside, analysis,
        [&](Names& inner) {
          for (const ExprPtr& param : stmt.routine.params) expression(inner, param);
          for (const ExprPtr& value : stmt.routine.defaults) expression(inner, value);
          return block(inner, stmt.body);
        },
        &stmt.scope);
  }
};

}  // namespace

Result<Program> resolve_names(Block body) { return Resolver().run(std::move(body)); }

}  // namespace mimo::chat
