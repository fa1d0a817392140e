#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "coordinator/template/ast.h"
#include "coordinator/template/lexer.h"

namespace mimo::chat {

// Jinja's grammar over tokens. Errors name the line, what was found and what was expected.
class Parser final {
 public:
  Parser(std::vector<Token> tokens, int32_t nesting_max)
      : tokens_(std::move(tokens)), nesting_max_(nesting_max) {}

  Result<Block> parse();

 private:
  using Names = std::initializer_list<std::string_view>;

  // Tokens.
  const Token& now() const { return tokens_[at_]; }
  const Token& ahead() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  void move() { at_ = std::min(at_ + 1, tokens_.size() - 1); }
  bool take(std::string_view sign);
  bool take_name(std::string_view name);
  Result<std::string> expect_name();
  Result<void> expect(std::string_view sign);
  Result<void> expect_keyword(std::string_view name);
  Result<void> expect_block_end();
  Error unexpected(const std::string& expected) const;

  // Statements (parse_statements.cc).
  Result<Block> block(Names ends);
  Result<Block> body(Names ends);
  Result<StmtPtr> statement();
  Result<StmtPtr> parse_if();
  Result<StmtPtr> parse_for();
  Result<StmtPtr> parse_set();
  Result<StmtPtr> parse_with();
  Result<StmtPtr> parse_macro();
  Result<StmtPtr> parse_call();
  Result<StmtPtr> parse_filter_block();
  Result<StmtPtr> parse_generation();
  Result<StmtPtr> parse_loop_control(StmtKind kind);
  Result<void> signature(Routine* routine);
  Result<ExprPtr> assign_target(bool with_member);
  Result<StmtPtr> parse_print();

  // Expressions.
  Result<ExprPtr> expression(bool with_condition = true);
  Result<ExprPtr> condition();
  Result<ExprPtr> parse_or();
  Result<ExprPtr> parse_and();
  Result<ExprPtr> parse_not();
  Result<ExprPtr> comparison();
  Result<ExprPtr> sum();
  Result<ExprPtr> concatenation();
  Result<ExprPtr> product();
  Result<ExprPtr> power();
  Result<ExprPtr> unary(bool with_filter);
  Result<ExprPtr> primary(bool with_member = false);
  Result<ExprPtr> tuple(bool simple, bool with_condition, bool in_parentheses,
                        bool with_member = false);
  Result<ExprPtr> list();
  Result<ExprPtr> dict();
  Result<ExprPtr> postfix(ExprPtr node);
  Result<ExprPtr> filters_and_tests(ExprPtr node);
  Result<ExprPtr> subscript(ExprPtr node);
  Result<ExprPtr> bracket(ExprPtr node, int32_t line);
  Result<ExprPtr> slice_part();
  Result<ExprPtr> call(ExprPtr node);
  Result<CallArguments> arguments();
  Result<ExprPtr> filter(ExprPtr node, bool first_without_bar);
  Result<ExprPtr> test(ExprPtr node);
  Result<std::string> dotted_name();
  Result<ExprPtr> binary(Operator op, ExprPtr left, ExprPtr right, int32_t line);

  // The finished expression, its height known and bounded.
  Result<ExprPtr> checked(ExprPtr node) const;

  std::vector<Token> tokens_;
  int32_t nesting_max_;
  size_t at_ = 0;
  int32_t depth_ = 0;           // of statements and brackets that are open
  int32_t loops_ = 0;           // loops around, within this macro
  int32_t soft_ = 0;            // an `if` is around: unknown filters are found when they run
  std::vector<Error> unknown_;  // filters and tests
};

// A filter or test of that name is there (registry.cc).
bool is_filter_name(std::string_view name);
bool is_test_name(std::string_view name);

}  // namespace mimo::chat
