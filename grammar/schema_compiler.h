#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "grammar/schema_json.h"
#include "grammar/schema_limits.h"
#include "grammar/schema_rules.h"

namespace mimo::grammar {

// A property as it is written, its name and value together.
struct Member {
  std::string text;
  bool required = false;
};

// One schema on its way to a grammar. `at` is everywhere the JSON pointer of the schema in hand.
//
// Thread:    one.
// Lifetime:  the schema and the limits outlive it.
// Invariant: each rule has a text that ends: no model is led where it can never stop.
class SchemaCompiler final {
 public:
  SchemaCompiler(const Json& root, const SchemaLimits& limits) : root_(root), limits_(limits) {}

  Result<EbnfRules> run();

 private:
  struct Counts {
    int64_t min = 0;
    int64_t max = Regex::kUnbounded;
  };

  // schema_compiler.cc: what kind of schema it is.
  Result<Texts> value(const Json& schema, const std::string& at);
  Result<Texts> reference(const Json& schema, const std::string& at);
  Result<Texts> constants(const Json& schema, const std::string& at);
  Result<Texts> alternatives(const Json& schema, const std::string& at, const char* keyword);
  Result<Texts> typed(const Json& schema, const std::string& at);
  Result<Texts> of_type(const std::string& type, const Json& schema, const std::string& at);
  Result<void> follow_references();

  // schema_values.cc
  Result<Texts> string_value(const Json& schema, const std::string& at);
  Result<Texts> integer_value(const Json& schema, const std::string& at);
  Result<Texts> number_value(const Json& schema, const std::string& at);
  Result<Texts> array_value(const Json& schema, const std::string& at);
  Result<Counts> counts(const Json& schema, const std::string& at, const char* min,
                        const char* max);

  // schema_objects.cc
  Result<Texts> object_value(const Json& schema, const std::string& at);
  Result<Texts> members(const Json& schema, const std::string& at, std::vector<Member>* members);
  Result<Texts> further_member(const Json& schema, const std::string& at,
                               const std::set<std::string>& names);
  Result<std::string> key_other_than(const std::set<std::string>& names, const std::string& at);
  Texts plain_members(const std::vector<Member>& members, const Texts& further);
  Texts counted_members(const std::vector<Member>& members, const Texts& further,
                        const Counts& counts);

  const Json& root_;
  const SchemaLimits& limits_;
  EbnfRules rules_{"r"};
  int64_t num_nodes_ = 0;
  int64_t num_constants_ = 0;
  struct Target {
    std::string rule;
    const Json* schema;
  };
  std::map<std::string, Target> targets_;  // by reference
  std::vector<std::string> unread_;        // references whose targets are still to be read
};

// --- schema_checks.cc: what is asked of a schema before it is read -------------------------------

// Every keyword is known and one that can be held to.
Result<void> check_keywords(const Json& schema, const std::string& at);
// Beside `keyword` stand only those of `also` and what says nothing about values.
Result<void> check_alone(const Json& schema, const std::string& at, const char* keyword,
                         const std::set<std::string>& also);
// No value is in two of the options. References are followed inside `root`.
Result<void> check_apart(const Json& options, const Json& root, const std::string& at);
// The types that a schema's keywords speak of: "type", or what they imply; empty: any.
Result<std::vector<std::string>> types_of(const Json& schema, const std::string& at);
bool is_of_type(const Json& value, const std::string& type);
// The references among `references` whose target has no value that ends.
std::vector<std::string> endless(const Json& root, const std::vector<std::string>& references);

Error refused(const std::string& at, const std::string& keyword, const std::string& why);

}  // namespace mimo::grammar
