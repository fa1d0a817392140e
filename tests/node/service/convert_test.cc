#include "node/service/convert.h"

#include <gtest/gtest.h>

namespace mimo::node {
namespace {

using Kind = grammar::Spec::Kind;

grammar::Spec spec_of(const std::function<void(v1::Constraint&)>& set) {
  v1::Submit submit;
  set(*submit.mutable_constraint());
  return to_request(submit).constraint;
}

TEST(Convert, EveryKindOfConstraintArrives) {
  EXPECT_EQ(to_request(v1::Submit()).constraint, grammar::Spec());
  EXPECT_EQ(spec_of([](v1::Constraint& c) { c.set_json_schema("{}"); }),
            (grammar::Spec{.kind = Kind::kJsonSchema, .text = "{}"}));
  EXPECT_EQ(spec_of([](v1::Constraint& c) { c.set_json_object(true); }),
            (grammar::Spec{.kind = Kind::kJsonObject}));
  EXPECT_EQ(spec_of([](v1::Constraint& c) { c.set_regex("a+"); }),
            (grammar::Spec{.kind = Kind::kRegex, .text = "a+"}));
  EXPECT_EQ(spec_of([](v1::Constraint& c) {
              c.mutable_choice()->add_texts("yes");
              c.mutable_choice()->add_texts("no");
            }),
            (grammar::Spec{.kind = Kind::kChoice, .choices = {"yes", "no"}}));
  EXPECT_EQ(
      spec_of([](v1::Constraint& c) {
        c.set_grammar("root ::= \"x\"");
        c.set_free_until("</think>");
      }),
      (grammar::Spec{.kind = Kind::kGrammar, .text = "root ::= \"x\"", .free_until = "</think>"}));
  EXPECT_EQ(spec_of([](v1::Constraint& c) { c.set_structural_tag("{}"); }),
            (grammar::Spec{.kind = Kind::kStructuralTag, .text = "{}"}));
}

TEST(Convert, AConstraintOfNoKindIsNone) {
  EXPECT_EQ(spec_of([](v1::Constraint& c) { c.set_free_until("</think>"); }), grammar::Spec());
}

}  // namespace
}  // namespace mimo::node
