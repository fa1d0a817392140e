// The parser's lists, dicts, and what follows a value: subscripts, calls, filters, tests.
#include <algorithm>
#include <utility>

#include "coordinator/template/parser.h"

namespace mimo::chat {
namespace {

ExprPtr make_node(ExprKind kind, int32_t line) {
  auto node = std::make_unique<Expr>();
  node->kind = kind;
  node->line = line;
  return node;
}

}  // namespace

Result<ExprPtr> Parser::list() {
  ExprPtr node = make_node(ExprKind::kList, now().line);
  TRY(expect("["));
  while (!now().is("]")) {
    if (!node->items.empty()) TRY(expect(","));
    if (now().is("]")) break;
    TRY_ASSIGN(ExprPtr item, expression());
    node->items.push_back(std::move(item));
  }
  TRY(expect("]"));
  return checked(std::move(node));
}

Result<ExprPtr> Parser::dict() {
  ExprPtr node = make_node(ExprKind::kDict, now().line);
  TRY(expect("{"));
  while (!now().is("}")) {
    if (!node->items.empty()) TRY(expect(","));
    if (now().is("}")) break;
    TRY_ASSIGN(ExprPtr key, expression());
    TRY(expect(":"));
    TRY_ASSIGN(ExprPtr value, expression());
    node->items.push_back(std::move(key));
    node->items.push_back(std::move(value));
  }
  TRY(expect("}"));
  return checked(std::move(node));
}

Result<ExprPtr> Parser::postfix(ExprPtr node) {
  while (true) {
    if (now().is(".") || now().is("[")) {
      TRY_ASSIGN(node, subscript(std::move(node)));
    } else if (now().is("(")) {
      TRY_ASSIGN(node, call(std::move(node)));
    } else {
      return node;
    }
  }
}

Result<ExprPtr> Parser::filters_and_tests(ExprPtr node) {
  while (true) {
    if (now().is("|")) {
      TRY_ASSIGN(node, filter(std::move(node), false));
    } else if (now().is_name("is")) {
      TRY_ASSIGN(node, test(std::move(node)));
    } else if (now().is("(")) {
      TRY_ASSIGN(node, call(std::move(node)));
    } else {
      return node;
    }
  }
}

Result<ExprPtr> Parser::subscript(ExprPtr node) {
  const int32_t line = now().line;
  if (take("[")) return bracket(std::move(node), line);
  TRY(expect("."));
  const Token token = now();
  if (token.kind != TokenKind::kName && token.kind != TokenKind::kInteger)
    return unexpected("a name or a number");
  move();
  ExprPtr result = make_node(ExprKind::kAttribute, line);
  result->items.push_back(std::move(node));
  if (token.kind == TokenKind::kName) {
    result->name = token.text;
  } else {
    result->kind = ExprKind::kItem;
    ExprPtr index = make_node(ExprKind::kConstant, token.line);
    index->constant = Value::integer(token.integer);
    result->items.push_back(std::move(index));
  }
  return checked(std::move(result));
}

// A part of a slice, or null where it is left out.
Result<ExprPtr> Parser::slice_part() {
  if (now().is(":") || now().is("]") || now().is(",")) return ExprPtr();
  return expression();
}

Result<ExprPtr> Parser::bracket(ExprPtr node, int32_t line) {
  ExprPtr result = make_node(ExprKind::kItem, line);
  result->items.push_back(std::move(node));
  if (now().is("]")) {  // an empty tuple
    result->items.push_back(make_node(ExprKind::kTuple, line));
    move();
    return checked(std::move(result));
  }
  TRY_ASSIGN(ExprPtr first, slice_part());
  if (take(":")) {
    result->kind = ExprKind::kSlice;
    result->items.push_back(std::move(first));
    TRY_ASSIGN(ExprPtr stop, slice_part());
    ExprPtr step;
    if (take(":")) {
      TRY_ASSIGN(step, slice_part());
    }
    result->items.push_back(std::move(stop));
    result->items.push_back(std::move(step));
  } else if (now().is(",")) {
    ExprPtr key = make_node(ExprKind::kTuple, line);
    key->items.push_back(std::move(first));
    while (take(",")) {
      TRY_ASSIGN(ExprPtr item, expression());
      key->items.push_back(std::move(item));
    }
    TRY_ASSIGN(key, checked(std::move(key)));
    result->items.push_back(std::move(key));
  } else {
    if (first == nullptr) return unexpected("an expression");
    result->items.push_back(std::move(first));
  }
  TRY(expect("]"));
  return checked(std::move(result));
}

Result<CallArguments> Parser::arguments() {
  CallArguments result;
  const int32_t line = now().line;
  const auto misplaced = [line] {
    return at_line(line, "a call's arguments are out of order: positional, named, *, ** expected");
  };
  TRY(expect("("));
  bool first = true;
  while (!now().is(")")) {
    if (!first) TRY(expect(","));
    first = false;
    if (now().is(")")) break;
    if (take("*")) {
      if (result.more != nullptr || result.more_named != nullptr) return misplaced();
      TRY_ASSIGN(result.more, expression());
    } else if (take("**")) {
      if (result.more_named != nullptr) return misplaced();
      TRY_ASSIGN(result.more_named, expression());
    } else if (now().kind == TokenKind::kName && ahead().is("=")) {
      if (result.more_named != nullptr) return misplaced();
      const std::string name = now().text;
      move();
      move();
      for (const auto& [known, value] : result.named) {
        if (known == name) return at_line(line, "argument '" + name + "' is given twice");
      }
      TRY_ASSIGN(ExprPtr value, expression());
      result.named.emplace_back(name, std::move(value));
    } else {
      if (result.more != nullptr || result.more_named != nullptr || !result.named.empty())
        return misplaced();
      TRY_ASSIGN(ExprPtr value, expression());
      result.positional.push_back(std::move(value));
    }
  }
  TRY(expect(")"));
  return result;
}

Result<ExprPtr> Parser::call(ExprPtr node) {
  ExprPtr result = make_node(ExprKind::kCall, now().line);
  result->items.push_back(std::move(node));
  TRY_ASSIGN(result->call, arguments());
  return checked(std::move(result));
}

Result<std::string> Parser::dotted_name() {
  TRY_ASSIGN(std::string name, expect_name());
  while (take(".")) {
    TRY_ASSIGN(const std::string part, expect_name());
    name += "." + part;
  }
  return name;
}

Result<ExprPtr> Parser::filter(ExprPtr node, bool first_without_bar) {
  while (first_without_bar || take("|")) {
    first_without_bar = false;
    ExprPtr result = make_node(ExprKind::kFilter, now().line);
    TRY_ASSIGN(result->name, dotted_name());
    if (soft_ == 0 && !is_filter_name(result->name))
      unknown_.push_back(at_line(result->line, "no filter is named '" + result->name + "'"));
    result->items.push_back(std::move(node));
    if (now().is("(")) {
      TRY_ASSIGN(result->call, arguments());
    }
    TRY_ASSIGN(node, checked(std::move(result)));
  }
  return node;
}

Result<ExprPtr> Parser::test(ExprPtr node) {
  ExprPtr result = make_node(ExprKind::kTest, now().line);
  move();  // "is"
  const bool negated = take_name("not");
  TRY_ASSIGN(result->name, dotted_name());
  if (soft_ == 0 && !is_test_name(result->name))
    unknown_.push_back(at_line(result->line, "no test is named '" + result->name + "'"));
  result->items.push_back(std::move(node));
  const TokenKind kind = now().kind;
  const bool starts_value = kind == TokenKind::kName || kind == TokenKind::kString ||
                            kind == TokenKind::kInteger || kind == TokenKind::kFloat ||
                            now().is("[") || now().is("{");
  if (now().is("(")) {
    TRY_ASSIGN(result->call, arguments());
  } else if (starts_value && !now().is_name("else") && !now().is_name("or") &&
             !now().is_name("and")) {
    if (now().is_name("is")) return at_line(now().line, "two tests with 'is' in a row");
    TRY_ASSIGN(ExprPtr argument, primary());
    TRY_ASSIGN(argument, postfix(std::move(argument)));
    result->call.positional.push_back(std::move(argument));
  }
  const int32_t line = result->line;
  TRY_ASSIGN(result, checked(std::move(result)));
  if (!negated) return result;
  ExprPtr inverse = make_node(ExprKind::kNot, line);
  inverse->items.push_back(std::move(result));
  return checked(std::move(inverse));
}

}  // namespace mimo::chat
