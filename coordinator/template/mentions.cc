#include "coordinator/template/mentions.h"

namespace mimo::chat {

void Mentions::read(const ExprPtr& expr) {
  if (expr != nullptr) read(*expr);
}

void Mentions::read(const Expr& expr) {
  if (expr.kind == ExprKind::kName && wanted_.count(expr.name) > 0) found_.insert(expr.name);
  for_each_child(expr, [this](const Expr& child) { read(child); });
}

void Mentions::set(const Expr& target) {
  if (target.kind == ExprKind::kName) wanted_.erase(target.name);
  for_each_child(target, [this](const Expr& child) { set(child); });
}

void Mentions::look(const Block& block) {
  for (const StmtPtr& stmt : block) look(*stmt);
}

void Mentions::look(const Stmt& stmt) {
  const bool filters_last = stmt.kind == StmtKind::kFilter;
  // A target comes before what is assigned to it.
  if (stmt.target != nullptr) set(*stmt.target);
  if (!filters_last) read(stmt.value);
  for (const ExprPtr& param : stmt.params) set(*param);
  for (const ExprPtr& value : stmt.values) read(value);
  for (const ExprPtr& param : stmt.routine.params) set(*param);
  for (const ExprPtr& value : stmt.routine.defaults) read(value);
  look(stmt.body);
  look(stmt.other);
  if (filters_last) read(stmt.value);
  read(stmt.test);
}

}  // namespace mimo::chat
