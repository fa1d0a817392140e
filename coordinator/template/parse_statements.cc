// The parser's statements and tokens.
#include <algorithm>
#include <utility>

#include "coordinator/template/parser.h"

namespace mimo::chat {
namespace {

StmtPtr make(StmtKind kind, int32_t line) {
  auto node = std::make_unique<Stmt>();
  node->kind = kind;
  node->line = line;
  return node;
}

bool is_assignable(const Expr& target) {
  if (target.kind == ExprKind::kTuple) {
    return std::all_of(target.items.begin(), target.items.end(),
                       [](const ExprPtr& item) { return is_assignable(*item); });
  }
  return target.kind == ExprKind::kName || target.kind == ExprKind::kMember;
}

}  // namespace

bool Parser::take(std::string_view sign) {
  if (!now().is(sign)) return false;
  move();
  return true;
}

bool Parser::take_name(std::string_view name) {
  if (!now().is_name(name)) return false;
  move();
  return true;
}

Error Parser::unexpected(const std::string& expected) const {
  return at_line(now().line, "expected " + expected + ", got " + now().described());
}

Result<void> Parser::expect(std::string_view sign) {
  if (!take(sign)) return unexpected("'" + std::string(sign) + "'");
  return {};
}

Result<void> Parser::expect_keyword(std::string_view name) {
  if (!take_name(name)) return unexpected("'" + std::string(name) + "'");
  return {};
}

Result<std::string> Parser::expect_name() {
  if (now().kind != TokenKind::kName) return unexpected("a name");
  std::string name = now().text;
  move();
  return name;
}

Result<void> Parser::expect_block_end() {
  if (now().kind != TokenKind::kBlockEnd) return unexpected("'%}'");
  move();
  return {};
}

Result<Block> Parser::parse() {
  TRY_ASSIGN(Block result, block({}));
  if (!unknown_.empty()) return unknown_.front();
  return result;
}

// Statements up to one of the tags `ends`, whose name is then the current token.
Result<Block> Parser::block(Names ends) {
  if (++depth_ > nesting_max_)
    return at_line(now().line, "nested more than " + std::to_string(nesting_max_) + " deep");
  Block result;
  while (now().kind != TokenKind::kEnd) {
    const Token& token = now();
    if (token.kind == TokenKind::kData) {
      StmtPtr data = make(StmtKind::kData, token.line);
      data->text = token.text;
      result.push_back(std::move(data));
      move();
    } else if (token.kind == TokenKind::kPrintBegin) {
      StmtPtr print = make(StmtKind::kPrint, token.line);
      move();
      TRY_ASSIGN(print->value, tuple(false, true, false));
      if (now().kind != TokenKind::kPrintEnd) return unexpected("'}}'");
      move();
      result.push_back(std::move(print));
    } else {
      move();  // "{%"
      const bool ended = std::any_of(ends.begin(), ends.end(),
                                     [this](std::string_view end) { return now().is_name(end); });
      if (ended) {
        --depth_;
        return result;
      }
      TRY_ASSIGN(StmtPtr parsed, statement());
      TRY(expect_block_end());
      result.push_back(std::move(parsed));
    }
  }
  --depth_;
  if (ends.size() == 0) return result;
  std::string expected;
  for (const std::string_view end : ends) {
    expected += expected.empty() ? "'{% " : " or '{% ";
    expected += std::string(end) + " %}'";
  }
  return unexpected(expected);
}

// The rest of a tag and the statements behind it.
Result<Block> Parser::body(Names ends) {
  take(":");
  TRY(expect_block_end());
  return block(ends);
}

Result<StmtPtr> Parser::statement() {
  if (now().kind != TokenKind::kName) return unexpected("the name of a tag");
  const std::string name = now().text;
  if (name == "if") return parse_if();
  if (name == "for") return parse_for();
  if (name == "set") return parse_set();
  if (name == "with") return parse_with();
  if (name == "macro") return parse_macro();
  if (name == "call") return parse_call();
  if (name == "filter") return parse_filter_block();
  if (name == "generation") return parse_generation();
  if (name == "print") return parse_print();
  if (name == "break") return parse_loop_control(StmtKind::kBreak);
  if (name == "continue") return parse_loop_control(StmtKind::kContinue);
  return at_line(now().line, "the tag '" + name + "' is not expected here or not supported");
}

Result<StmtPtr> Parser::parse_if() {
  StmtPtr node = make(StmtKind::kIf, now().line);
  move();
  ++soft_;
  TRY_ASSIGN(node->value, tuple(false, false, false));
  TRY_ASSIGN(node->body, body({"elif", "else", "endif"}));
  --soft_;
  if (now().is_name("elif")) {
    if (++depth_ > nesting_max_) return unexpected("fewer branches");
    TRY_ASSIGN(StmtPtr next, parse_if());
    --depth_;
    node->other.push_back(std::move(next));
    return node;
  }
  const bool has_else = now().is_name("else");
  move();
  if (has_else) {
    ++soft_;
    TRY_ASSIGN(node->other, body({"endif"}));
    --soft_;
    move();
  }
  return node;
}

Result<StmtPtr> Parser::parse_for() {
  StmtPtr node = make(StmtKind::kFor, now().line);
  move();
  TRY_ASSIGN(node->target, assign_target(false));
  TRY(expect_keyword("in"));
  const int32_t soft = std::exchange(soft_, 0);
  TRY_ASSIGN(node->value, tuple(false, false, false));
  if (take_name("if")) {
    TRY_ASSIGN(node->test, expression());
  }
  if (now().is_name("recursive"))
    return at_line(now().line, "a recursive loop is not supported, use a macro");
  ++loops_;
  TRY_ASSIGN(node->body, body({"endfor", "else"}));
  --loops_;
  const bool has_else = now().is_name("else");
  move();
  if (has_else) {
    TRY_ASSIGN(node->other, body({"endfor"}));
    move();
  }
  soft_ = soft;
  return node;
}

Result<StmtPtr> Parser::parse_set() {
  StmtPtr node = make(StmtKind::kSet, now().line);
  move();
  TRY_ASSIGN(node->target, assign_target(true));
  if (take("=")) {
    TRY_ASSIGN(node->value, tuple(false, true, false));
    return node;
  }
  node->kind = StmtKind::kSetBlock;
  TRY_ASSIGN(node->value, filter(nullptr, false));
  const int32_t soft = std::exchange(soft_, 0);
  TRY_ASSIGN(node->body, body({"endset"}));
  soft_ = soft;
  move();
  return node;
}

Result<StmtPtr> Parser::parse_with() {
  StmtPtr node = make(StmtKind::kWith, now().line);
  move();
  while (now().kind != TokenKind::kBlockEnd) {
    if (!node->params.empty()) TRY(expect(","));
    TRY_ASSIGN(ExprPtr param, assign_target(false));
    TRY(expect("="));
    TRY_ASSIGN(ExprPtr value, expression());
    node->params.push_back(std::move(param));
    node->values.push_back(std::move(value));
  }
  const int32_t soft = std::exchange(soft_, 0);
  TRY_ASSIGN(node->body, body({"endwith"}));
  soft_ = soft;
  move();
  return node;
}

Result<void> Parser::signature(Routine* routine) {
  TRY(expect("("));
  while (!now().is(")")) {
    if (!routine->params.empty()) TRY(expect(","));
    auto param = std::make_unique<Expr>();
    param->kind = ExprKind::kName;
    param->line = now().line;
    TRY_ASSIGN(param->name, expect_name());
    for (const ExprPtr& known : routine->params) {
      if (known->name == param->name)
        return at_line(param->line, "two parameters are named '" + param->name + "'");
    }
    routine->params.push_back(std::move(param));
    if (take("=")) {
      TRY_ASSIGN(ExprPtr value, expression());
      routine->defaults.push_back(std::move(value));
    } else if (!routine->defaults.empty()) {
      return unexpected("a default for every parameter behind one with a default");
    }
  }
  return expect(")");
}

Result<StmtPtr> Parser::parse_macro() {
  StmtPtr node = make(StmtKind::kMacro, now().line);
  move();
  TRY_ASSIGN(node->text, expect_name());
  const int32_t soft = std::exchange(soft_, 0);
  const int32_t loops = std::exchange(loops_, 0);
  TRY(signature(&node->routine));
  TRY_ASSIGN(node->body, body({"endmacro"}));
  soft_ = soft;
  loops_ = loops;
  move();
  return node;
}

Result<StmtPtr> Parser::parse_call() {
  StmtPtr node = make(StmtKind::kCall, now().line);
  move();
  if (now().is("(")) TRY(signature(&node->routine));
  TRY_ASSIGN(node->value, expression());
  if (node->value->kind != ExprKind::kCall)
    return at_line(node->line, "a call block needs a call, as in '{% call macro() %}'");
  const int32_t soft = std::exchange(soft_, 0);
  const int32_t loops = std::exchange(loops_, 0);
  TRY_ASSIGN(node->body, body({"endcall"}));
  soft_ = soft;
  loops_ = loops;
  move();
  return node;
}

Result<StmtPtr> Parser::parse_filter_block() {
  StmtPtr node = make(StmtKind::kFilter, now().line);
  move();
  const int32_t soft = std::exchange(soft_, 0);
  TRY_ASSIGN(node->value, filter(nullptr, true));
  TRY_ASSIGN(node->body, body({"endfilter"}));
  soft_ = soft;
  move();
  return node;
}

Result<StmtPtr> Parser::parse_generation() {
  StmtPtr node = make(StmtKind::kCall, now().line);
  move();
  const int32_t soft = std::exchange(soft_, 0);
  const int32_t loops = std::exchange(loops_, 0);
  TRY_ASSIGN(node->body, body({"endgeneration"}));
  soft_ = soft;
  loops_ = loops;
  move();
  return node;
}

// {% print a, b %}: what {{ a ~ b }} gives.
Result<StmtPtr> Parser::parse_print() {
  StmtPtr node = make(StmtKind::kPrint, now().line);
  move();
  ExprPtr all = std::make_unique<Expr>();
  all->kind = ExprKind::kConcat;
  all->line = node->line;
  while (now().kind != TokenKind::kBlockEnd) {
    if (!all->items.empty()) TRY(expect(","));
    TRY_ASSIGN(ExprPtr value, expression());
    all->items.push_back(std::move(value));
  }
  TRY_ASSIGN(node->value, checked(std::move(all)));
  return node;
}

Result<StmtPtr> Parser::parse_loop_control(StmtKind kind) {
  StmtPtr node = make(kind, now().line);
  if (loops_ == 0) return at_line(now().line, "'" + now().text + "' stands outside of a loop");
  move();
  return node;
}

Result<ExprPtr> Parser::assign_target(bool with_member) {
  TRY_ASSIGN(ExprPtr target, tuple(true, true, false, with_member));
  if (!is_assignable(*target))
    return at_line(target->line, "cannot assign to this, expected a name or names");
  return target;
}

}  // namespace mimo::chat
