#pragma once

#include <set>
#include <string>
#include <utility>

#include "coordinator/template/ast.h"

namespace mimo::chat {

// Which of some names a body reads before it sets them, as Jinja looks for `loop`, `caller`,
// `kwargs` and `varargs`: in the order of the source, inner scopes included.
class Mentions final {
 public:
  Mentions(std::set<std::string> wanted, const Block& body) : wanted_(std::move(wanted)) {
    look(body);
  }

  bool has(const std::string& name) const { return found_.count(name) > 0; }

 private:
  void read(const ExprPtr& expr);
  void read(const Expr& expr);
  void set(const Expr& target);
  void look(const Block& block);
  void look(const Stmt& stmt);

  std::set<std::string> wanted_;
  std::set<std::string> found_;
};

}  // namespace mimo::chat
