#include "grammar/schema_compiler.h"

#include <utility>

#include "grammar/json_schema.h"

namespace mimo::grammar {
namespace {

// Which of them may end is found by going over all of them again and again.
constexpr size_t kReferencesMax = 500;

}  // namespace

Result<EbnfRules> SchemaCompiler::run() {
  add_json_rules(&rules_);
  TRY_ASSIGN(const Texts top, value(root_, ""));
  TRY(follow_references());
  if (!top) return refused("", "", "no value satisfies the schema");
  rules_.add_named("root", *top);
  const std::string& grammar = rules_.text();
  if (static_cast<int64_t>(grammar.size()) > limits_.grammar_bytes_max)
    return invalid_argument("the schema's grammar has " + std::to_string(grammar.size()) +
                            " bytes: expected at most " +
                            std::to_string(limits_.grammar_bytes_max));
  return rules_;
}

// A target becomes a rule of its own, read after what refers to it: so references may go in
// circles.
Result<void> SchemaCompiler::follow_references() {
  std::vector<std::string> all;
  while (!unread_.empty()) {
    const std::string reference = unread_.back();
    unread_.pop_back();
    const Target target = targets_.at(reference);
    TRY_ASSIGN(const Texts texts, value(*target.schema, reference.substr(1)));
    if (!texts) return refused(reference.substr(1), "", "no value satisfies what is referred to");
    rules_.add_named(target.rule, *texts);
    all.push_back(reference);
  }
  const std::vector<std::string> bad = endless(root_, all);
  if (!bad.empty()) return refused(bad.front().substr(1), "$ref", "no value of it ever ends");
  return {};
}

Result<Texts> SchemaCompiler::value(const Json& schema, const std::string& at) {
  if (++num_nodes_ > limits_.nodes_max)
    return refused(at, "", "more than " + std::to_string(limits_.nodes_max) + " subschemas");
  if (static_cast<int64_t>(rules_.text().size()) > limits_.grammar_bytes_max)
    return refused(
        at, "", "the grammar grows past " + std::to_string(limits_.grammar_bytes_max) + " bytes");
  if (schema.is_boolean()) return schema.get<bool>() ? Texts(rule::kAny) : Texts();
  if (!schema.is_object()) return refused(at, "", "a schema is an object, true or false");
  TRY(check_keywords(schema, at));
  if (schema.contains("$ref")) return reference(schema, at);
  if (schema.contains("const") || schema.contains("enum")) return constants(schema, at);
  for (const char* keyword : {"anyOf", "oneOf", "allOf"})
    if (schema.contains(keyword)) return alternatives(schema, at, keyword);
  return typed(schema, at);
}

Result<Texts> SchemaCompiler::reference(const Json& schema, const std::string& at) {
  TRY(check_alone(schema, at, "$ref", {}));
  if (!schema["$ref"].is_string()) return refused(at, "$ref", "expected a string");
  const auto& name = schema["$ref"].get_ref<const std::string&>();
  const Json* target = find_pointer(root_, name);
  if (target == nullptr)
    return refused(at, "$ref", "\"" + name + "\" is nowhere in the schema: expected # or #/...");
  if (targets_.size() >= kReferencesMax && !targets_.contains(name))
    return refused(at, "$ref",
                   "more than " + std::to_string(kReferencesMax) + " different references");
  const auto [found, is_new] =
      targets_.try_emplace(name, Target{"ref" + std::to_string(targets_.size()), target});
  if (is_new) unread_.push_back(name);
  return Texts(found->second.rule);
}

Result<Texts> SchemaCompiler::constants(const Json& schema, const std::string& at) {
  const char* keyword = schema.contains("const") ? "const" : "enum";
  TRY(check_alone(schema, at, keyword, {"type"}));
  const Json values = schema.contains("const") ? Json::array({schema["const"]}) : schema["enum"];
  if (!values.is_array() || values.empty())
    return refused(at, keyword, "expected an array of at least one value");
  num_constants_ += static_cast<int64_t>(values.size());
  if (num_constants_ > limits_.constants_max)
    return refused(at, keyword, "more than " + std::to_string(limits_.constants_max) + " values");
  TRY_ASSIGN(const std::vector<std::string> types, types_of(schema, at));
  std::vector<Texts> texts;
  for (const Json& one : values) {
    bool fits = types.empty();
    for (const std::string& type : types) fits = fits || is_of_type(one, type);
    if (!fits) continue;
    const std::string text = one.dump();
    if (text.find('\0') != std::string::npos) return refused(at, keyword, "has a NUL");
    texts.emplace_back(ebnf_literal(text));
  }
  return any_of_texts(texts);
}

Result<Texts> SchemaCompiler::alternatives(const Json& schema, const std::string& at,
                                           const char* keyword) {
  TRY(check_alone(schema, at, keyword, {}));
  const Json& options = schema[keyword];
  if (!options.is_array() || options.empty())
    return refused(at, keyword, "expected an array of at least one schema");
  if (std::string_view(keyword) == "allOf" && options.size() > 1)
    return refused(at, keyword, "more than one schema in it is not supported");
  const std::string inside = pointer_to(at, keyword);
  if (std::string_view(keyword) == "oneOf") TRY(check_apart(options, root_, inside));
  std::vector<Texts> texts;
  for (size_t i = 0; i < options.size(); ++i) {
    TRY_ASSIGN(Texts one, value(options[i], pointer_to(inside, std::to_string(i))));
    texts.push_back(std::move(one));
  }
  return any_of_texts(texts);
}

Result<Texts> SchemaCompiler::typed(const Json& schema, const std::string& at) {
  TRY_ASSIGN(const std::vector<std::string> types, types_of(schema, at));
  if (types.empty()) return Texts(rule::kAny);
  const std::set<std::string> all(types.begin(), types.end());
  std::vector<Texts> texts;
  for (const std::string& type : types) {
    if (type == "integer" && all.contains("number")) continue;
    TRY_ASSIGN(Texts one, of_type(type, schema, at));
    texts.push_back(std::move(one));
  }
  return any_of_texts(texts);
}

Result<Texts> SchemaCompiler::of_type(const std::string& type, const Json& schema,
                                      const std::string& at) {
  if (type == "null") return Texts("\"null\"");
  if (type == "boolean") return Texts(rule::kBoolean);
  if (type == "string") return string_value(schema, at);
  if (type == "integer") return integer_value(schema, at);
  if (type == "number") return number_value(schema, at);
  if (type == "array") return array_value(schema, at);
  return object_value(schema, at);
}

Result<EbnfRules> json_schema_grammar(std::string_view schema, const SchemaLimits& limits) {
  if (static_cast<int64_t>(schema.size()) > limits.bytes_max)
    return invalid_argument("the schema has " + std::to_string(schema.size()) +
                            " bytes: expected at most " + std::to_string(limits.bytes_max));
  TRY_ASSIGN(const Json root, parse_json(schema, limits.depth_max));
  return SchemaCompiler(root, limits).run();
}

EbnfRules json_object_grammar() {
  EbnfRules rules("r");
  add_json_rules(&rules);
  rules.add_named("root", rule::kObject);
  return rules;
}

}  // namespace mimo::grammar
