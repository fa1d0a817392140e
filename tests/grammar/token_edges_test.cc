// Where tokens and symbols do not meet: parts of characters, tokens over several symbols, ends.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/grammar/vocabulary.h"

namespace mimo::grammar {
namespace {

Spec regex(std::string text) { return {.kind = Spec::Kind::kRegex, .text = std::move(text)}; }
Spec schema(std::string text) { return {.kind = Spec::Kind::kJsonSchema, .text = std::move(text)}; }

// Bytes alone, and a few longer tokens: 256 `","`, 257 `{"a":`, 258 `"}`, 259 half of U+1F600.
Grammars::Vocabulary bytes_and_more() {
  Grammars::Vocabulary vocabulary;
  for (int32_t byte = 0; byte < 256; ++byte)
    vocabulary.token_bytes.emplace_back(1, static_cast<char>(byte));
  for (const char* more : {"\",\"", "{\"a\":", "\"}", "\xf0\x9f", "\":\"x\",\"", "<|end|>"})
    vocabulary.token_bytes.emplace_back(more);
  vocabulary.token_bytes.back().clear();  // 261 is special
  vocabulary.vocab_limit = 270;
  vocabulary.end_ids = {261};
  return vocabulary;
}

bool accepts_bytes(Grammars* grammars, const Spec& spec, std::string_view text) {
  auto rules = grammars->start(spec);
  std::vector<uint32_t> mask(static_cast<size_t>(mask_words(270)));
  for (const char c : text) {
    rules->fill(mask).value();
    const auto token = static_cast<int32_t>(static_cast<uint8_t>(c));
    const bool allowed = is_set(mask, token);
    EXPECT_EQ(rules->accept(token).ok(), allowed);
    if (!allowed) return false;
  }
  rules->fill(mask).value();
  return is_set(mask, 261);
}

TEST(TokenEdges, EveryPlaneIsWholeAndNothingElse) {
  auto grammars = Grammars::create(bytes_and_more(), {}).value();
  const std::vector<std::string> good = {"a",
                                         "\x7f",
                                         "\xc2\x80",
                                         "\xdf\xbf",
                                         "\xe0\xa0\x80",
                                         "\xed\x9f\xbf",
                                         "\xee\x80\x80",
                                         "\xef\xbf\xbf",
                                         "\xf0\x90\x80\x80",
                                         "\xf0\x9f\x98\x80",
                                         "\xf3\xbf\xbf\xbf",
                                         "\xf4\x8f\xbf\xbf"};
  const std::vector<std::string> bad = {"\x80",
                                        "\xc0\x80",
                                        "\xc1\xbf",
                                        "\xe0\x80\x80",
                                        "\xe0\x9f\xbf",
                                        "\xed\xa0\x80",
                                        "\xed\xbf\xbf",
                                        "\xf0\x80\x80\x80",
                                        "\xf0\x8f\xbf\xbf",
                                        "\xf4\x90\x80\x80",
                                        "\xf8\x88\x80\x80\x80",
                                        "\xff",
                                        "\xc3",
                                        "\xf0\x9f\x98"};
  const Spec negated = {.kind = Spec::Kind::kGrammar, .text = "root ::= [^x]"};
  const Spec long_one = regex("[^x]{1,300}");
  for (const Spec& spec : {regex("."), regex("[^x]"), negated, long_one}) {
    for (const std::string& text : good)
      EXPECT_TRUE(accepts_bytes(grammars.get(), spec, text)) << spec.text << " " << text;
    for (const std::string& text : bad)
      EXPECT_FALSE(accepts_bytes(grammars.get(), spec, text)) << spec.text << " " << text.size();
  }
  for (const char* of_strings :
       {R"({"type": "string"})", R"({"type": "string", "maxLength": 1})",
        R"({"type": "string", "maxLength": 100})", R"({"type": "string", "pattern": "^.$"})",
        R"({"type": "string", "minLength": 1, "maxLength": 100})"}) {
    for (const std::string& text : good)
      EXPECT_TRUE(accepts_bytes(grammars.get(), schema(of_strings), '"' + text + '"')) << text;
    for (const std::string& text : bad)
      EXPECT_FALSE(accepts_bytes(grammars.get(), schema(of_strings), '"' + text + '"'));
  }
}

TEST(TokenEdges, ATokenMayEndOneSymbolAndBeginTheNext) {
  auto grammars = Grammars::create(bytes_and_more(), {}).value();
  auto rules = grammars->start(schema(
      R"({"type": "object", "properties": {"a": {"type": "array", "items": {"type": "string"}}},
          "required": ["a"]})"));
  std::vector<uint32_t> mask(static_cast<size_t>(mask_words(270)));
  const auto take = [&](int32_t token) {
    rules->fill(mask).value();
    EXPECT_TRUE(is_set(mask, token)) << token;
    rules->accept(token).value();
  };

  for (const int32_t token : {257, int{'['}, int{'"'}, int{'x'}, 256, 259, 0x98, 0x80, 256})
    take(token);
  rules->fill(mask).value();
  EXPECT_TRUE(is_set(mask, 256));
  EXPECT_FALSE(is_set(mask, 258));  // the array is open
  EXPECT_FALSE(is_set(mask, 260));  // no name is in place here
  EXPECT_FALSE(is_set(mask, 0x98));
}

TEST(TokenEdges, NothingButTextAndEndsIsEverAllowed) {
  auto grammars = Grammars::create(bytes_and_more(), {}).value();
  auto rules = grammars->start(regex("(a|.)*"));
  std::vector<uint32_t> mask(static_cast<size_t>(mask_words(270)));

  rules->fill(mask).value();

  EXPECT_TRUE(is_set(mask, 'a'));
  EXPECT_TRUE(is_set(mask, 261));
  for (int32_t id = 262; id < 288; ++id) EXPECT_FALSE(is_set(mask, id)) << id;
  for (const int32_t id : {-1, 262, 269, 270, 1 << 20}) EXPECT_FALSE(rules->accept(id).ok());
}

TEST(TokenEdges, TheEndComesOnlyWhereTheTextIsWhole) {
  auto grammars = Grammars::create(bytes_and_more(), {}).value();
  auto rules = grammars->start(regex("ab?"));
  std::vector<uint32_t> mask(static_cast<size_t>(mask_words(270)));

  rules->fill(mask).value();
  EXPECT_FALSE(is_set(mask, 261));
  EXPECT_FALSE(rules->accept(261).ok());
  EXPECT_TRUE(rules->accept('a').ok());
  EXPECT_FALSE(rules->accept('x').ok());  // changes nothing
  rules->fill(mask).value();
  EXPECT_TRUE(is_set(mask, 261));
  EXPECT_TRUE(is_set(mask, 'b'));
  rules->accept(261).value();

  rules->fill(mask).value();
  for (int32_t id = 0; id < 270; ++id) EXPECT_EQ(is_set(mask, id), id == 261) << id;
  EXPECT_FALSE(rules->accept('b').ok());
}

TEST(TokenEdges, AddedTokensAreTextUnlessSpecial) {
  auto grammars = tiny_grammars();
  Drawing drawing(grammars.get(), regex("<think>.*</think><tool_call>"));

  EXPECT_TRUE(is_set(drawing.fill(), 2039));  // <think>
  drawing.rules().accept(2039).value();
  EXPECT_TRUE(is_set(drawing.fill(), 2040));
  EXPECT_FALSE(is_set(drawing.fill(), 2033));  // <|im_start|>
  EXPECT_FALSE(is_set(drawing.fill(), 2034));  // <|im_end|>: the text is not whole
  drawing.rules().accept(2040).value();
  drawing.rules().accept(2035).value();
  EXPECT_TRUE(is_set(drawing.fill(), 2034));
}

TEST(TokenEdges, AStructuralTagFreesAndBinds) {
  auto grammars = tiny_grammars();
  const Spec spec = {.kind = Spec::Kind::kStructuralTag, .text = R"({"type": "structural_tag",
    "format": {"type": "triggered_tags", "triggers": ["<f="], "tags": [{"type": "tag",
      "begin": "<f=weather>", "end": "</f>", "content": {"type": "json_schema", "json_schema":
        {"type": "object", "properties": {"city": {"type": "string", "maxLength": 300}},
         "required": ["city"]}}}]}})"};

  EXPECT_TRUE(accepts(grammars.get(), spec, "so: <f=weather>{\"city\": \"Oslo\"}</f> and"));
  EXPECT_TRUE(accepts(grammars.get(), spec, "nothing to call"));
  EXPECT_FALSE(accepts(grammars.get(), spec, "<f=other>"));
  EXPECT_FALSE(accepts(grammars.get(), spec, "<f=weather>{\"town\": 1}</f>"));
  Spec after = spec;
  after.free_until = "</think>";
  EXPECT_TRUE(accepts(grammars.get(), after, "<f=no</think><f=weather>{\"city\":\"\"}</f>"));
  EXPECT_FALSE(accepts(grammars.get(), after, "no end of thought"));
}

}  // namespace
}  // namespace mimo::grammar
