#include "coordinator/chat/argument_value.h"

#include <gtest/gtest.h>

#include "coordinator/chat/declared_types.h"
#include "coordinator/chat/python_literal.h"

namespace mimo::chat {
namespace {

using Json = nlohmann::ordered_json;

uint32_t types_of(const char* schema, const char* root = "{}") {
  return declared_types(Json::parse(schema), Json::parse(root));
}

TEST(DeclaredTypes, AreReadFromEveryKeywordThatSaysThem) {
  EXPECT_EQ(types_of(R"({"type": "integer"})"), kIntegerType);
  EXPECT_EQ(types_of(R"({"type": ["string", "null"]})"), kStringType | kNullType);
  EXPECT_EQ(types_of(R"({"enum": [1, "a", null]})"), kIntegerType | kStringType | kNullType);
  EXPECT_EQ(types_of(R"({"const": 1.5})"), kNumberType);
  EXPECT_EQ(types_of(R"({"anyOf": [{"type": "array"}, {"type": "null"}]})"),
            kArrayType | kNullType);
  EXPECT_EQ(types_of(R"({"oneOf": [{"type": "array"}, {}]})"), kArrayType | kStringType);
  EXPECT_EQ(types_of(R"({"allOf": [{"minimum": 1}, {"type": "number"}]})"), kNumberType);
  EXPECT_EQ(types_of(R"({"description": "any"})"), 0u);
  EXPECT_EQ(types_of(R"({"type": "tuple"})"), 0u);
  EXPECT_EQ(types_of("true"), 0u);
}

TEST(DeclaredTypes, FollowReferencesAndNeverForLong) {
  const char* root = R"({"$defs": {"a/b": {"type": "boolean"}, "loop": {"$ref": "#/$defs/loop"},
      "wide": {"anyOf": [{"$ref": "#/$defs/wide"}, {"$ref": "#/$defs/wide"},
                         {"$ref": "#/$defs/wide"}]}}})";

  EXPECT_EQ(types_of(R"({"$ref": "#/$defs/a~1b"})", root), kBooleanType);
  EXPECT_EQ(types_of(R"({"$ref": "#/$defs/none"})", root), 0u);
  EXPECT_EQ(types_of(R"({"$ref": "elsewhere.json"})", root), 0u);
  EXPECT_EQ(types_of(R"({"$ref": "#/$defs/loop"})", root), 0u);
  EXPECT_EQ(types_of(R"({"$ref": "#/$defs/wide"})", root), kStringType);
}

TEST(ArgumentValue, IsCastByItsTypes) {
  EXPECT_EQ(argument_json("5", kStringType), R"("5")");
  EXPECT_EQ(argument_json("null", kStringType), R"("null")");
  EXPECT_EQ(argument_json("null", kStringType | kNullType), "null");
  EXPECT_EQ(argument_json("None", kIntegerType), "null");
  EXPECT_EQ(argument_json("x", 0), R"("x")");
  EXPECT_EQ(argument_json(" a\n\"b\" ", kStringType), R"(" a\n\"b\" ")");
  EXPECT_EQ(argument_json("5", kIntegerType), "5");
  EXPECT_EQ(argument_json("\n-05 ", kIntegerType), "-5");
  EXPECT_EQ(argument_json("123456789012345678901234567890", kIntegerType),
            "123456789012345678901234567890");
  EXPECT_EQ(argument_json("5.0", kIntegerType), "5");
  EXPECT_EQ(argument_json("5.5", kIntegerType), R"("5.5")");
  EXPECT_EQ(argument_json("five", kIntegerType), R"("five")");
  EXPECT_EQ(argument_json("5", kIntegerType | kStringType), "5");
  EXPECT_EQ(argument_json("1.50", kNumberType), "1.50");
  EXPECT_EQ(argument_json("1e3", kNumberType), "1e3");
  EXPECT_EQ(argument_json(".5", kNumberType), "0.5");
  EXPECT_EQ(argument_json("nan", kNumberType), R"("nan")");
  EXPECT_EQ(argument_json("1e999", kNumberType), R"("1e999")");
  EXPECT_EQ(argument_json("True", kBooleanType), "true");
  EXPECT_EQ(argument_json("false", kBooleanType), "false");
  EXPECT_EQ(argument_json("yes", kBooleanType), R"("yes")");
}

TEST(ArgumentValue, ArraysAndObjectsAreJsonOrPython) {
  EXPECT_EQ(argument_json(R"( [1, "a"] )", kArrayType), R"([1, "a"])");
  EXPECT_EQ(argument_json(R"({"a": {"b": null}})", kObjectType), R"({"a": {"b": null}})");
  EXPECT_EQ(argument_json("{'a': True, 'b': (1, None)}", kObjectType),
            R"({"a": true, "b": [1, null]})");
  EXPECT_EQ(argument_json("[1, 2", kArrayType), R"("[1, 2")");
  EXPECT_EQ(argument_json("{}", kArrayType), R"("{}")");
  EXPECT_EQ(argument_json(R"(["&lt;"])", kArrayType), R"(["&lt;"])");
  EXPECT_EQ(argument_json("[&quot;a&quot;]", kArrayType), R"(["a"])");
}

TEST(ArgumentValue, StringsAreUnescaped) {
  EXPECT_EQ(unescape_markup("a &lt; b &amp;&amp; c &gt; d"), "a < b && c > d");
  EXPECT_EQ(unescape_markup("&quot;&apos;&#39;&#x1F600;"), "\"''\U0001f600");
  EXPECT_EQ(unescape_markup("&amp;lt;"), "&lt;");
  EXPECT_EQ(unescape_markup("&nbsp; & &; &# &#x; &#xD800; &#0; &#9999999999; &lt"),
            "&nbsp; & &; &# &#x; &#xD800; &#0; &#9999999999; &lt");
  EXPECT_EQ(argument_json("a &lt; b", kStringType), R"("a < b")");
}

TEST(ArgumentValue, BytesThatAreNoTextBecomeText) {
  EXPECT_EQ(argument_json("a\xff"
                          "b",
                          kStringType),
            "\"a\xef\xbf\xbd"
            "b\"");
}

TEST(PythonLiteral, IsReadAsPythonReadsIt) {
  EXPECT_EQ(python_literal_json("{'a': 'it\\'s', \"b\": [1, 2.5,], }"),
            R"({"a": "it's", "b": [1, 2.5]})");
  EXPECT_EQ(python_literal_json("()"), "[]");
  EXPECT_EQ(python_literal_json("(1,)"), "[1]");
  EXPECT_EQ(python_literal_json("'\\u00e9\\x41\\U0001F600\\n'"), "\"\u00e9A\U0001f600\\n\"");
  for (const char* text : {"", "(1)", "{1: 2}", "{'a' 1}", "[1 2]", "[,]", "{,}", "'a", "'a\nb'",
                           "f(1)", "[1]x", "'\\ud800'", "'\\x4'", "'\\q'", "+1", "--1", "'\\"})
    EXPECT_EQ(python_literal_json(text), std::nullopt) << text;
  EXPECT_EQ(python_literal_json(std::string(100'000, '[')), std::nullopt);
}

TEST(Arguments, KeepTheirOrderAndTheLastOfAKey) {
  ToolSpec tool;
  tool.parameters = Json::parse(R"({"type": "object", "properties": {"n": {"type": "integer"},
      "$x": {"$ref": "#/$defs/t"}}, "additionalProperties": {"type": "boolean"},
      "$defs": {"t": {"type": "array"}}})");

  EXPECT_EQ(arguments_json(tool, {}), "{}");
  EXPECT_EQ(arguments_json(tool, {{"z", "true"}, {"n", "1"}, {"$x", "[]"}, {"n", "2"}}),
            R"({"z": true, "n": 2, "$x": []})");
}

}  // namespace
}  // namespace mimo::chat
