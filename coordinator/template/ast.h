#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "coordinator/template/operators.h"
#include "coordinator/template/value.h"

namespace mimo::chat {

struct Expr;
struct Stmt;
using ExprPtr = std::unique_ptr<Expr>;
using StmtPtr = std::unique_ptr<Stmt>;
using Block = std::vector<StmtPtr>;

// Where a variable lives: `up` functions (macros) outwards, then its slot there.
struct VariableRef {
  int32_t up = 0;
  int32_t slot = -1;
};

// What is done to a variable when its scope is entered.
struct Load {
  enum class Action : uint8_t {
    kResolve,  // look `name` up in what the rendering was given
    kAlias,    // copy the outer variable of that name
    kMissing,  // there is none yet
  };
  Action action = Action::kMissing;
  int32_t slot = -1;
  std::string name;
  VariableRef outer;
};

// The variables of one scope: a loop's body, a macro's, the whole template.
struct Scope {
  std::vector<Load> loads;
};

enum class ExprKind : uint8_t {
  kConstant,   // constant
  kName,       // name, variable
  kMember,     // name.attribute as a target of `set`: name, attribute, variable
  kTuple,      // items
  kList,       // items
  kDict,       // items: key, value, key, value ...
  kNegate,     // items[0]
  kPlus,       // items[0]
  kNot,        // items[0]
  kBinary,     // op; items[0], items[1]
  kAnd,        // items[0], items[1]
  kOr,         // items[0], items[1]
  kConcat,     // items
  kCompare,    // items[0] ops[0] items[1] ops[1] ...
  kCondition,  // items[0] if items[1] else items[2], which may be null
  kAttribute,  // items[0].name
  kItem,       // items[0][items[1]]
  kSlice,      // items[0][items[1]:items[2]:items[3]], of which 1 to 3 may be null
  kCall,       // items[0](call)
  kFilter,     // items[0] | name(call); items[0] is null where a block is the subject
  kTest,       // items[0] is name(call)
};

// The arguments of a call.
struct CallArguments {
  std::vector<ExprPtr> positional;
  std::vector<std::pair<std::string, ExprPtr>> named;
  ExprPtr more;        // *more
  ExprPtr more_named;  // **more_named
};

struct Expr {
  ExprKind kind = ExprKind::kConstant;
  int32_t line = 1;
  int32_t height = 1;  // expressions nested in it, itself included
  std::string name;
  std::string attribute;
  Value constant;
  Operator op = Operator::kAdd;
  std::vector<Operator> ops;
  std::vector<ExprPtr> items;
  CallArguments call;
  VariableRef variable;
};

// Calls visit(child) for every expression right below.
template <typename Visit>
void for_each_child(const Expr& expr, const Visit& visit) {
  for (const ExprPtr& item : expr.items) {
    if (item != nullptr) visit(*item);
  }
  for (const ExprPtr& item : expr.call.positional) visit(*item);
  for (const auto& [name, item] : expr.call.named) visit(*item);
  if (expr.call.more != nullptr) visit(*expr.call.more);
  if (expr.call.more_named != nullptr) visit(*expr.call.more_named);
}

enum class StmtKind : uint8_t {
  kData,      // text
  kPrint,     // value
  kIf,        // value; body; other
  kFor,       // target in value if test: body; other where nothing was looped over
  kSet,       // target = value
  kSetBlock,  // target = body, through the filters in value (or null)
  kMacro,     // text(params): body
  kCall,      // value, with body as its caller; a null value: just the body (generation)
  kFilter,    // value (filters) over body
  kWith,      // params = values: body
  kBreak,
  kContinue,
};

// A macro, or a call block's body.
struct Routine {
  std::vector<ExprPtr> params;    // names
  std::vector<ExprPtr> defaults;  // of the last ones
  int32_t num_slots = 0;
  // Slots of the special parameters that its body speaks of; -1: it does not.
  int32_t caller_slot = -1;
  int32_t named_slot = -1;     // kwargs
  int32_t variadic_slot = -1;  // varargs
  bool has_inner = false;      // functions made in it may outlive a call
};

struct Stmt {
  StmtKind kind = StmtKind::kData;
  int32_t line = 1;
  std::string text;
  Value data;
  ExprPtr target;
  ExprPtr value;
  ExprPtr test;
  Block body;
  Block other;
  std::vector<ExprPtr> params;  // of `with`
  std::vector<ExprPtr> values;
  Routine routine;

  ExprPtr test_target;     // target, with the variables of for's test
  Scope scope;             // the body's
  Scope test_scope;        // of for's test
  Scope other_scope;       // of for's else
  int32_t loop_slot = -1;  // of `loop`; -1: the body does not speak of it
};

// A parsed template.
struct Program {
  Block body;
  Scope scope;
  Routine root;  // only its slots
};

}  // namespace mimo::chat
