#include <cstdio>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "coordinator/text/tokenizer.h"

namespace mimo::cli {
namespace {

Result<void> print_line(const text::Tokenizer& tokenizer, const std::string& text) {
  TRY_ASSIGN(const std::vector<int32_t> ids, tokenizer.encode(text));
  nlohmann::ordered_json line;
  line["ids"] = ids;
  line["decoded"] = tokenizer.decode(ids, /*skip_special=*/false);
  std::printf("%s\n", line.dump().c_str());
  return {};
}

Result<void> print_lines(const text::Tokenizer& tokenizer, std::istream& in,
                         const std::string& name) {
  std::string line;
  for (int64_t number = 1; std::getline(in, line); ++number) {
    if (line.empty()) continue;
    const auto json = nlohmann::json::parse(line, nullptr, false);
    if (!json.is_object() || !json.contains("text") || !json["text"].is_string()) {
      return invalid_argument(name + ":" + std::to_string(number) +
                              ": expected {\"text\": \"...\"}");
    }
    const auto printed = print_line(tokenizer, json["text"].get<std::string>());
    if (!printed.ok()) return printed.error().with_context(name + ":" + std::to_string(number));
  }
  if (in.bad()) return Error{Code::kDataLoss, name + ": cannot be read to its end"};
  return {};
}

Result<void> tokenize(const TokenizeOptions& options) {
  TRY_ASSIGN(const auto tokenizer, text::Tokenizer::load(options.tokenizer));
  if (options.jsonl.empty()) return print_line(*tokenizer, options.text);
  if (options.jsonl == "-") return print_lines(*tokenizer, std::cin, "standard input");
  std::ifstream file(options.jsonl);
  if (!file) return Error{Code::kNotFound, options.jsonl + ": cannot be read"};
  return print_lines(*tokenizer, file, options.jsonl);
}

}  // namespace

int run_tokenize(const TokenizeOptions& options) {
  const auto done = tokenize(options);
  return done.ok() ? 0 : fail(done.error());
}

}  // namespace mimo::cli
