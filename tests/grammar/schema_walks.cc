// Reads JSON Schemas, one a line; draws texts under each over the bundled model's vocabulary, and
// writes a line of JSON for each: {"texts": [hex, ...]} or {"error": "..."}.
//
//   schema_walks SEED WALKS
#include <cstdlib>
#include <iostream>
#include <nlohmann/json.hpp>
#include <random>
#include <string>

#include "base/hex.h"
#include "tests/grammar/vocabulary.h"

namespace mimo::grammar {
namespace {

constexpr int32_t kFreeSteps = 60;
constexpr int32_t kStepsMax = 4000;

// How gladly a token is taken: what structure is made of often enough to meet all of it, and from
// kFreeSteps on what closes most of all.
double weight_of(const std::string& bytes, bool in_string, int32_t step) {
  if (bytes.size() != 1) return 1;
  const bool close = step > kFreeSteps;
  const char c = bytes[0];
  if (c == '"') return close ? 1e6 : 40;
  if (c == '}' || c == ']') return in_string ? 1 : close ? 1e9 : 60;
  if (c == '@' || c == '.' || c == '-') return close && step % 4 == 0 ? 1e5 : 20;
  if (c >= '0' && c <= '9') return close && !in_string ? 1e4 : 20;
  return std::string_view("{[,:ntf").find(c) != std::string_view::npos ? 20 : 1;
}

bool ends_in_string(const std::string& text) {
  bool inside = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '"') inside = !inside;
    if (text[i] == '\\' && inside) ++i;
  }
  return inside;
}

nlohmann::json walk(Grammars* grammars, const Spec& spec, int32_t walks, std::mt19937_64* random) {
  auto texts = nlohmann::json::array();
  for (int32_t i = 0; i < walks; ++i) {
    Drawing drawing(grammars, spec, tiny_vocabulary());
    const auto& vocabulary = drawing.vocabulary();
    std::vector<uint32_t> mask(static_cast<size_t>(mask_words(vocabulary.vocab_limit)));
    std::string text;
    for (int32_t step = 0;; ++step) {
      if (step == kStepsMax) return {{"error", "no end after " + text.substr(0, 400)}};
      if (const auto filled = drawing.rules().fill(mask); !filled.ok())
        return {{"error", filled.error().to_string() + " after " + text}};
      if (is_set(mask, vocabulary.end_ids[0]) && (step > kFreeSteps || (*random)() % 4 == 0)) break;
      std::vector<double> weights(static_cast<size_t>(vocabulary.vocab_limit));
      const bool in_string = ends_in_string(text);
      for (int32_t id = 0; id < vocabulary.vocab_limit; ++id) {
        const bool ends = id == vocabulary.end_ids[0] || id == vocabulary.end_ids[1];
        if (is_set(mask, id) && !ends)
          weights[static_cast<size_t>(id)] = weight_of(drawing.token(id), in_string, step);
      }
      std::discrete_distribution<int32_t> draw(weights.begin(), weights.end());
      const int32_t token = draw(*random);
      if (weights[static_cast<size_t>(token)] == 0) break;  // nothing but the end
      if (const auto taken = drawing.rules().accept(token); !taken.ok())
        return {{"error", taken.error().to_string() + " after " + text}};
      text += drawing.token(token);
    }
    texts.push_back(to_hex({reinterpret_cast<const uint8_t*>(text.data()), text.size()}));
  }
  return {{"texts", texts}};
}

}  // namespace
}  // namespace mimo::grammar

int main(int argc, char** argv) {
  using namespace mimo::grammar;
  if (argc != 3) return 2;
  std::mt19937_64 random(std::strtoull(argv[1], nullptr, 10));
  const int32_t walks = std::atoi(argv[2]);
  auto grammars = tiny_grammars();
  std::string line;
  while (std::getline(std::cin, line)) {
    const Spec spec = {.kind = Spec::Kind::kJsonSchema, .text = line};
    const auto checked = grammars->check(spec);
    if (checked.ok())
      std::cout << walk(grammars.get(), spec, walks, &random)
                       .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)
                << "\n";
    else
      std::cout << nlohmann::json({{"refused", checked.error().to_string()}}).dump() << "\n";
  }
  return 0;
}
