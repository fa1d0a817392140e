#include <algorithm>
#include <functional>
#include <utility>

#include "grammar/schema_compiler.h"
#include "grammar/utf8.h"

namespace mimo::grammar {
namespace {

constexpr int64_t kKeyCharactersMax = 20'000;
constexpr int64_t kCountedStatesMax = 4096;

const std::string kBlank = std::string(" ") + rule::kBlank + " ";
const std::string kComma = " \",\"" + kBlank;

// Names that a key without escapes can be, by their characters.
struct NameTree {
  std::map<char32_t, NameTree> next;
  bool is_name = false;
};

bool is_plain(const std::u32string& name) {
  return std::all_of(name.begin(), name.end(),
                     [](char32_t c) { return c >= ' ' && c != '"' && c != '\\'; });
}

}  // namespace

// `members` in their order; what further ones look like, nothing when there may be none.
Result<Texts> SchemaCompiler::members(const Json& schema, const std::string& at,
                                      std::vector<Member>* members) {
  std::set<std::string> required;
  if (schema.contains("required")) {
    if (!schema["required"].is_array())
      return refused(at, "required", "expected an array of names");
    for (const Json& name : schema["required"]) {
      if (!name.is_string()) return refused(at, "required", "expected an array of names");
      required.insert(name.get<std::string>());
    }
  }
  const auto add = [&](const std::string& name, const std::string& text) {
    members->push_back(
        {ebnf_literal(Json(name).dump() + ":") + kBlank + text, required.contains(name)});
  };
  std::set<std::string> names;
  const Json none = Json::object();
  const Json& properties = schema.contains("properties") ? schema["properties"] : none;
  if (!properties.is_object()) return refused(at, "properties", "expected an object of schemas");
  const std::string inside = pointer_to(at, "properties");
  bool possible = true;
  for (const auto& [name, property] : properties.items()) {
    if (name.find('\0') != std::string::npos) return refused(at, "properties", "a name has a NUL");
    names.insert(name);
    TRY_ASSIGN(const Texts text, value(property, pointer_to(inside, name)));
    if (text) add(name, *text);
    possible = possible && (text || !required.contains(name));
  }
  // A name that is required and not declared is a further member that must be there.
  for (const std::string& name : required) {
    if (names.contains(name)) continue;
    if (schema.contains("patternProperties") || schema.contains("propertyNames"))
      return refused(at, "required", "\"" + name + "\" is not in properties");
    Texts text = rule::kAny;
    if (schema.contains("additionalProperties")) {
      const std::string where = pointer_to(at, "additionalProperties");
      TRY_ASSIGN(text, value(schema["additionalProperties"], where));
    }
    if (text) add(name, *text);
    possible = possible && text;
    names.insert(name);
  }
  TRY_ASSIGN(Texts further, further_member(schema, at, names));
  if (!possible) members->push_back({"", true});  // object_value() sees that there is none
  return further;
}

Result<Texts> SchemaCompiler::further_member(const Json& schema, const std::string& at,
                                             const std::set<std::string>& names) {
  const bool has_rest = schema.contains("additionalProperties");
  const bool closed = has_rest && schema["additionalProperties"] == false;
  if (schema.contains("patternProperties")) {
    const Json& patterns = schema["patternProperties"];
    const bool alone = names.empty() && (!has_rest || closed) && !schema.contains("propertyNames");
    if (!patterns.is_object() || patterns.size() != 1 || !alone)
      return refused(at, "patternProperties",
                     "expected one pattern, without properties and with no other names allowed");
    const std::string& pattern = patterns.begin().key();
    const std::string inside = pointer_to(pointer_to(at, "patternProperties"), pattern);
    const auto regex = parse_regex(pattern, /*whole=*/false, limits_.regex);
    if (!regex.ok()) return refused(inside, "", regex.error().message);
    TRY_ASSIGN(const Texts text, value(patterns.begin().value(), inside));
    if (!text) return Texts();
    return Texts(rules_.add(string_of(regex.value(), &rules_) + " \":\"" + kBlank + *text));
  }
  if (schema.contains("propertyNames") && !names.empty())
    return refused(at, "propertyNames", "beside properties is not supported");
  const bool open = names.empty() && !schema.contains("properties");
  if (closed || (!has_rest && !open)) return Texts();
  std::string key = rule::kString;
  if (schema.contains("propertyNames")) {
    const std::string inside = pointer_to(at, "propertyNames");
    Json of_names = schema["propertyNames"];
    if (of_names.is_object() && of_names.contains("type")) {
      TRY_ASSIGN(const std::vector<std::string> types, types_of(of_names, inside));
      if (std::find(types.begin(), types.end(), "string") == types.end()) return Texts();
    }
    if (of_names.is_object() && !of_names.contains("$ref")) of_names["type"] = "string";
    if (of_names.is_object() && of_names.contains("$ref"))
      return refused(inside, "$ref", "is not supported for names");
    if (of_names == true) of_names = Json{{"type", "string"}};
    TRY_ASSIGN(const Texts text, value(of_names, inside));
    if (!text) return Texts();
    key = *text;
  } else if (!names.empty()) {
    TRY_ASSIGN(key, key_other_than(names, at));
  }
  Texts text = rule::kAny;
  if (has_rest) {
    const std::string inside = pointer_to(at, "additionalProperties");
    TRY_ASSIGN(text, value(schema["additionalProperties"], inside));
  }
  if (!text) return Texts();
  return Texts(rules_.add(key + " \":\"" + kBlank + *text));
}

// A key without escapes that is none of `names`, so that none is said twice in another spelling.
Result<std::string> SchemaCompiler::key_other_than(const std::set<std::string>& names,
                                                   const std::string& at) {
  NameTree tree;
  int64_t num_characters = 0;
  for (const std::string& name : names) {
    const auto text = from_utf8(name);
    if (!text || !is_plain(*text)) continue;
    num_characters += static_cast<int64_t>(text->size());
    NameTree* node = &tree;
    for (const char32_t c : *text) node = &node->next[c];
    node->is_name = true;
  }
  if (num_characters > kKeyCharactersMax)
    return refused(at, "additionalProperties",
                   "beside properties whose names have more than " +
                       std::to_string(kKeyCharactersMax) + " characters together");
  const std::vector<CharRange> plain = {{' ', '!'}, {'#', '['}, {']', 0x10ffff}};
  const std::string rest = rules_.add(ebnf_class(normal_set(plain)) + "* \"\\\"\"");
  const std::function<std::string(const NameTree&)> after = [&](const NameTree& node) {
    std::vector<CharRange> known = complement_set(plain);
    std::string body = node.is_name ? "" : "\"\\\"\" | ";
    for (const auto& [c, child] : node.next) known.push_back({c, c});
    body += ebnf_class(complement_set(known)) + " " + rest;
    for (const auto& [c, child] : node.next)
      body += " | " + ebnf_class({{c, c}}) + " " + after(child);
    return rules_.add(body);
  };
  return "\"\\\"\" " + after(tree);
}

Texts SchemaCompiler::plain_members(const std::vector<Member>& members, const Texts& further) {
  const std::string more = further ? "(" + kComma + *further + ")*" : "";
  size_t first_required = 0;
  while (first_required < members.size() && !members[first_required].required) ++first_required;
  const bool may_be_empty = first_required == members.size();
  // What follows member i - 1. Those that several alternatives share are rules.
  std::string tail = more;
  std::vector<Texts> openings;
  if (may_be_empty && further) openings.emplace_back(*further + " " + more);
  for (size_t i = members.size(); i-- > 0;) {
    if (i <= first_required) {
      if (i > 0 && !tail.empty()) tail = rules_.add(tail);
      openings.emplace_back(members[i].text + " " + tail);
    }
    const std::string one = "(" + kComma + members[i].text + ")";
    tail = one + (members[i].required ? "" : "?") + " " + tail;
  }
  const Texts opening = any_of_texts(openings);
  if (!opening) return Texts("\"{\"" + kBlank + "\"}\"");
  const std::string inner = "(" + *opening + kBlank + ")" + (may_be_empty ? "?" : "");
  return Texts("\"{\"" + kBlank + inner + " \"}\"");
}

// With a count of the members so far in each rule.
Texts SchemaCompiler::counted_members(const std::vector<Member>& members, const Texts& further,
                                      const Counts& counts) {
  std::map<std::pair<size_t, int64_t>, Texts> known;
  const std::function<Texts(size_t, int64_t)> from = [&](size_t i, int64_t so_far) -> Texts {
    if (counts.max != Regex::kUnbounded && so_far > counts.max) return std::nullopt;
    if (i == members.size()) {
      if (!further) return so_far >= counts.min ? Texts("\"\"") : Texts();
      const bool open = counts.max == Regex::kUnbounded;
      if (!open && so_far == counts.max) return Texts("\"\"");
      const std::string one = kComma + *further;
      if (so_far > 0)
        return Texts(repeated(one, 0, open ? counts.max : counts.max - so_far, &rules_));
      const std::string more = repeated(one, 0, open ? counts.max : counts.max - 1, &rules_);
      return Texts("(" + *further + " " + more + ")?");
    }
    const auto [place, is_new] = known.try_emplace({i, so_far});
    if (!is_new) return place->second;
    std::vector<Texts> ways;
    if (const Texts tail = from(i + 1, so_far + 1))
      ways.emplace_back((so_far > 0 ? kComma : "") + members[i].text + " " + *tail);
    if (!members[i].required) ways.push_back(from(i + 1, so_far));
    const Texts all = any_of_texts(ways);
    return known[{i, so_far}] = all ? Texts(rules_.add(*all)) : Texts();
  };
  const Texts inner = from(0, 0);
  if (!inner) return std::nullopt;
  return Texts("\"{\"" + kBlank + *inner + kBlank + "\"}\"");
}

Result<Texts> SchemaCompiler::object_value(const Json& schema, const std::string& at) {
  TRY_ASSIGN(const Counts count, counts(schema, at, "minProperties", "maxProperties"));
  std::vector<Member> all;
  TRY_ASSIGN(const Texts further, members(schema, at, &all));
  const auto num_members = static_cast<int64_t>(all.size());
  int64_t num_required = 0;
  for (const Member& member : all) {
    if (member.text.empty()) return Texts();
    num_required += member.required ? 1 : 0;
  }
  const bool max_binds = count.max != Regex::kUnbounded && (further || count.max < num_members);
  const bool min_binds = count.min > num_required;
  if (min_binds && further)
    return refused(at, "minProperties",
                   "more than are required, where names that are not declared are allowed");
  if (!min_binds && !max_binds) {
    if (all.empty() && further && !schema.contains("patternProperties") &&
        !schema.contains("propertyNames") && !schema.contains("additionalProperties"))
      return Texts(rule::kObject);
    return Texts(rules_.add(*plain_members(all, further)));
  }
  if (num_members * std::max(count.max, num_members) > kCountedStatesMax)
    return refused(at, min_binds ? "minProperties" : "maxProperties",
                   "too many properties to count them");
  const Texts counted = counted_members(all, further, count);
  return counted ? Texts(rules_.add(*counted)) : Texts();
}

}  // namespace mimo::grammar
