// The parser's expressions, by falling strength of what binds.
#include <algorithm>
#include <utility>

#include "coordinator/template/parser.h"

namespace mimo::chat {
namespace {

ExprPtr make(ExprKind kind, int32_t line) {
  auto node = std::make_unique<Expr>();
  node->kind = kind;
  node->line = line;
  return node;
}

template <typename... Items>
ExprPtr make(ExprKind kind, int32_t line, Items... items) {
  ExprPtr node = make(kind, line);
  (node->items.push_back(std::move(items)), ...);
  return node;
}

int32_t height_of(const ExprPtr& node) { return node == nullptr ? 0 : node->height; }

}  // namespace

Result<ExprPtr> Parser::checked(ExprPtr node) const {
  int32_t height = 0;
  for (const ExprPtr& item : node->items) height = std::max(height, height_of(item));
  for (const ExprPtr& item : node->call.positional) height = std::max(height, height_of(item));
  for (const auto& [name, item] : node->call.named) height = std::max(height, height_of(item));
  height = std::max({height, height_of(node->call.more), height_of(node->call.more_named)});
  node->height = height + 1;
  if (node->height + depth_ > nesting_max_)
    return at_line(node->line, "nested more than " + std::to_string(nesting_max_) + " deep");
  return node;
}

Result<ExprPtr> Parser::binary(Operator op, ExprPtr left, ExprPtr right, int32_t line) {
  ExprPtr node = make(ExprKind::kBinary, line, std::move(left), std::move(right));
  node->op = op;
  return checked(std::move(node));
}

Result<ExprPtr> Parser::expression(bool with_condition) {
  if (++depth_ > nesting_max_)
    return at_line(now().line, "nested more than " + std::to_string(nesting_max_) + " deep");
  auto result = with_condition ? condition() : parse_or();
  --depth_;
  return result;
}

Result<ExprPtr> Parser::condition() {
  int32_t line = now().line;
  const size_t num_unknown = unknown_.size();
  TRY_ASSIGN(ExprPtr node, parse_or());
  while (take_name("if")) {
    TRY_ASSIGN(ExprPtr test, parse_or());
    ExprPtr other;
    if (take_name("else")) {
      if (++depth_ > nesting_max_)
        return at_line(line, "nested more than " + std::to_string(nesting_max_) + " deep");
      TRY_ASSIGN(other, condition());
      --depth_;
    }
    TRY_ASSIGN(node, checked(make(ExprKind::kCondition, line, std::move(node), std::move(test),
                                  std::move(other))));
    line = now().line;
    // Within a condition, as within an `if`, these are found when they run.
    unknown_.resize(num_unknown, Error());
  }
  return node;
}

Result<ExprPtr> Parser::parse_or() {
  const int32_t line = now().line;
  TRY_ASSIGN(ExprPtr left, parse_and());
  while (take_name("or")) {
    TRY_ASSIGN(ExprPtr right, parse_and());
    TRY_ASSIGN(left, checked(make(ExprKind::kOr, line, std::move(left), std::move(right))));
  }
  return left;
}

Result<ExprPtr> Parser::parse_and() {
  const int32_t line = now().line;
  TRY_ASSIGN(ExprPtr left, parse_not());
  while (take_name("and")) {
    TRY_ASSIGN(ExprPtr right, parse_not());
    TRY_ASSIGN(left, checked(make(ExprKind::kAnd, line, std::move(left), std::move(right))));
  }
  return left;
}

Result<ExprPtr> Parser::parse_not() {
  const int32_t line = now().line;
  int32_t num_nots = 0;
  while (take_name("not")) ++num_nots;
  TRY_ASSIGN(ExprPtr node, comparison());
  for (; num_nots > 0; --num_nots) {
    TRY_ASSIGN(node, checked(make(ExprKind::kNot, line, std::move(node))));
  }
  return node;
}

Result<ExprPtr> Parser::comparison() {
  constexpr std::pair<std::string_view, Operator> kSigns[] = {
      {"==", Operator::kEqual},     {"!=", Operator::kNotEqual}, {"<", Operator::kLess},
      {"<=", Operator::kLessEqual}, {">", Operator::kGreater},   {">=", Operator::kGreaterEqual}};
  const int32_t line = now().line;
  TRY_ASSIGN(ExprPtr first, sum());
  ExprPtr node = make(ExprKind::kCompare, line, std::move(first));
  while (true) {
    const auto found = std::find_if(std::begin(kSigns), std::end(kSigns),
                                    [this](const auto& sign) { return now().is(sign.first); });
    if (found != std::end(kSigns)) {
      move();
      node->ops.push_back(found->second);
    } else if (take_name("in")) {
      node->ops.push_back(Operator::kIn);
    } else if (now().is_name("not") && ahead().is_name("in")) {
      move();
      move();
      node->ops.push_back(Operator::kNotIn);
    } else {
      break;
    }
    TRY_ASSIGN(ExprPtr next, sum());
    node->items.push_back(std::move(next));
  }
  if (node->ops.empty()) return std::move(node->items[0]);
  return checked(std::move(node));
}

Result<ExprPtr> Parser::sum() {
  const int32_t line = now().line;
  TRY_ASSIGN(ExprPtr left, concatenation());
  while (now().is("+") || now().is("-")) {
    const Operator op = now().is("+") ? Operator::kAdd : Operator::kSubtract;
    move();
    TRY_ASSIGN(ExprPtr right, concatenation());
    TRY_ASSIGN(left, binary(op, std::move(left), std::move(right), line));
  }
  return left;
}

Result<ExprPtr> Parser::concatenation() {
  const int32_t line = now().line;
  TRY_ASSIGN(ExprPtr first, product());
  if (!now().is("~")) return first;
  ExprPtr node = make(ExprKind::kConcat, line, std::move(first));
  while (take("~")) {
    TRY_ASSIGN(ExprPtr next, product());
    node->items.push_back(std::move(next));
  }
  return checked(std::move(node));
}

Result<ExprPtr> Parser::product() {
  constexpr std::pair<std::string_view, Operator> kSigns[] = {{"*", Operator::kMultiply},
                                                              {"/", Operator::kDivide},
                                                              {"//", Operator::kFloorDivide},
                                                              {"%", Operator::kModulo}};
  const int32_t line = now().line;
  TRY_ASSIGN(ExprPtr left, power());
  while (true) {
    const auto found = std::find_if(std::begin(kSigns), std::end(kSigns),
                                    [this](const auto& sign) { return now().is(sign.first); });
    if (found == std::end(kSigns)) return left;
    move();
    TRY_ASSIGN(ExprPtr right, power());
    TRY_ASSIGN(left, binary(found->second, std::move(left), std::move(right), line));
  }
}

Result<ExprPtr> Parser::power() {
  const int32_t line = now().line;
  TRY_ASSIGN(ExprPtr left, unary(true));
  while (take("**")) {
    TRY_ASSIGN(ExprPtr right, unary(true));
    TRY_ASSIGN(left, binary(Operator::kPower, std::move(left), std::move(right), line));
  }
  return left;
}

Result<ExprPtr> Parser::unary(bool with_filter) {
  const int32_t line = now().line;
  ExprPtr node;
  if (now().is("-") || now().is("+")) {
    const ExprKind kind = now().is("-") ? ExprKind::kNegate : ExprKind::kPlus;
    move();
    if (++depth_ > nesting_max_)
      return at_line(line, "nested more than " + std::to_string(nesting_max_) + " deep");
    auto inner = unary(false);
    --depth_;
    TRY_ASSIGN(ExprPtr operand, std::move(inner));
    TRY_ASSIGN(node, checked(make(kind, line, std::move(operand))));
  } else {
    TRY_ASSIGN(node, primary());
  }
  TRY_ASSIGN(node, postfix(std::move(node)));
  if (!with_filter) return node;
  return filters_and_tests(std::move(node));
}

Result<ExprPtr> Parser::primary(bool with_member) {
  const Token token = now();
  ExprPtr node = make(ExprKind::kConstant, token.line);
  switch (token.kind) {
    case TokenKind::kName:
      move();
      if (token.text == "true" || token.text == "True") {
        node->constant = Value::boolean(true);
      } else if (token.text == "false" || token.text == "False") {
        node->constant = Value::boolean(false);
      } else if (token.text == "none" || token.text == "None") {
        node->constant = Value::none();
      } else {
        node->kind = ExprKind::kName;
        node->name = token.text;
        if (with_member && take(".")) {
          node->kind = ExprKind::kMember;
          TRY_ASSIGN(node->attribute, expect_name());
        }
      }
      return node;
    case TokenKind::kString: {
      std::string text;
      for (; now().kind == TokenKind::kString; move()) text += now().text;
      node->constant = Value::text(std::move(text));
      return node;
    }
    case TokenKind::kInteger:
      move();
      node->constant = Value::integer(token.integer);
      return node;
    case TokenKind::kFloat:
      move();
      node->constant = Value::real(token.real);
      return node;
    default:
      break;
  }
  if (take("(")) {
    TRY_ASSIGN(ExprPtr inner, tuple(false, true, true));
    TRY(expect(")"));
    return inner;
  }
  if (token.is("[")) return list();
  if (token.is("{")) return dict();
  return unexpected("an expression");
}

Result<ExprPtr> Parser::tuple(bool simple, bool with_condition, bool in_parentheses,
                              bool with_member) {
  const int32_t line = now().line;
  ExprPtr node = make(ExprKind::kTuple, line);
  bool has_comma = false;
  while (true) {
    if (!node->items.empty()) TRY(expect(","));
    const TokenKind kind = now().kind;
    if (kind == TokenKind::kPrintEnd || kind == TokenKind::kBlockEnd || now().is(")")) break;
    TRY_ASSIGN(ExprPtr item, simple ? primary(with_member) : expression(with_condition));
    node->items.push_back(std::move(item));
    if (!now().is(",")) break;
    has_comma = true;
  }
  if (!has_comma) {
    if (!node->items.empty()) return std::move(node->items[0]);
    if (!in_parentheses) return unexpected("an expression");
  }
  return checked(std::move(node));
}

}  // namespace mimo::chat
