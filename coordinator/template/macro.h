#pragma once

#include "coordinator/template/interpreter.h"
#include "coordinator/template/object.h"

namespace mimo::chat {

// A macro, or the body of a call block, with the variables around it.
class MacroObject final : public Object {
 public:
  MacroObject(Interpreter& interpreter, const Stmt& macro, Activation* defined_in)
      : interpreter_(interpreter), macro_(macro), defined_in_(defined_in) {}

  const char* type_name() const override { return "Macro"; }
  bool is_callable() const override { return true; }
  Result<std::string> repr(Machine& machine) const override;
  Result<Value> call(Machine& machine, const Arguments& arguments) override;
  Result<bool> attribute(Machine& machine, std::string_view name, Value* value) override;

 private:
  bool is_named() const { return macro_.kind == StmtKind::kMacro; }

  Interpreter& interpreter_;
  const Stmt& macro_;
  Activation* defined_in_;
};

}  // namespace mimo::chat
