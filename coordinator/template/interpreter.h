#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "coordinator/template/ast.h"
#include "coordinator/template/machine.h"
#include "coordinator/template/value.h"

namespace mimo::chat {

// The variables of one run of a macro, or of the template.
struct Activation {
  std::vector<Value> slots;
  Activation* outer = nullptr;
};

// Runs a parsed template once.
//
// Thread:    one.
// Lifetime:  program, machine and context outlive it; it outlives every value made while it runs.
class Interpreter final {
 public:
  Interpreter(const Program& program, Machine& machine, const Dict& context)
      : program_(program), machine_(machine), context_(context) {}

  Result<std::string> run();

  // Calls a macro, or a call block's body, that was made while `defined_in` ran.
  Result<Value> call_macro(const Stmt& macro, Activation* defined_in, const Arguments& arguments);

 private:
  enum class Flow : uint8_t { kNext, kBreak, kContinue };

  // Statements.
  Result<Flow> run_block(const Block& block);
  Result<Flow> run(const Stmt& stmt);
  Result<Flow> run_plain(const Stmt& stmt);
  Result<Flow> run_loop(const Stmt& loop);
  Result<Flow> run_captured(const Stmt& stmt);
  Result<Flow> run_with(const Stmt& stmt);
  Result<Flow> run_call(const Stmt& stmt);
  Result<void> append_text(const Value& value);
  Result<std::shared_ptr<Iterator>> tested(const Stmt& loop, std::shared_ptr<Iterator> source);
  Result<void> bind_parameters(const Stmt& macro, const Arguments& arguments, Activation* inside);
  Result<void> bind_rest(const Stmt& macro, std::vector<std::pair<std::string, Value>> named,
                         const Arguments& arguments, Activation* inside);

  // Expressions.
  Result<Value> evaluate(const Expr& expr);
  Result<Value> compute_expression(const Expr& expr);
  Result<Value> evaluate_items(const Expr& expr);
  Result<Value> evaluate_logic(const Expr& expr);
  Result<Value> evaluate_comparison(const Expr& expr);
  Result<Value> evaluate_concatenation(const Expr& expr);
  Result<Value> evaluate_slice(const Expr& expr);
  Result<Value> evaluate_applied(const Expr& expr);
  Result<Value> call(const Expr& expr, const Value* caller);
  Result<Arguments> evaluate_arguments(const CallArguments& call);

  // Variables.
  Value& variable(const VariableRef& ref);
  Value look_up(const std::string& name) const;
  void enter(const Scope& scope);
  Result<void> assign(const Expr& target, Value value);
  Result<Value> assigned(const Expr& target);

  Error located(int32_t line, Error error);
  Error too_deep() const;

  const Program& program_;
  Machine& machine_;
  const Dict& context_;
  // Those that macros made in them may still need; the others go with their call.
  std::vector<std::unique_ptr<Activation>> kept_;
  Activation* here_ = nullptr;
  std::string* out_ = nullptr;
  Value subject_;  // of the filters of a block
  int32_t num_calls_ = 0;
  int32_t num_running_ = 0;  // statements and expressions within each other
  bool located_ = false;
};

}  // namespace mimo::chat
