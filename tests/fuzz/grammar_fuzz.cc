// Specs from outside: the first byte says of what kind, the rest is the text. None may end the
// process, take long, or leave a step without a token.
#include <cstdint>
#include <string>
#include <vector>

#include "grammar/grammars.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace mimo::grammar;
  static const auto grammars = [] {
    Grammars::Vocabulary vocabulary;
    for (int32_t byte = 0; byte < 256; ++byte)
      vocabulary.token_bytes.emplace_back(1, static_cast<char>(byte));
    for (const char* more : {"\",\"", "{\"a\":", "\"}", "\xf0\x9f", "true", ""})
      vocabulary.token_bytes.emplace_back(more);
    vocabulary.vocab_limit = 262;
    vocabulary.end_ids = {261};
    Grammars::Options options;
    options.compile_time_max = std::chrono::milliseconds(2000);
    return Grammars::create(std::move(vocabulary), options).value();
  }();
  if (size == 0) return 0;
  Spec spec;
  spec.kind = static_cast<Spec::Kind>(1 + data[0] % 6);
  spec.text.assign(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (spec.kind == Spec::Kind::kChoice) spec.choices = {spec.text, "other"};
  if (data[0] & 0x80) spec.free_until = "</think>";

  auto rules = grammars->start(spec);
  std::vector<uint32_t> mask(static_cast<size_t>(mask_words(262)));
  for (size_t step = 0; step < 64 && rules->fill(mask).ok(); ++step) {
    const int32_t from = data[step % size];
    for (int32_t i = 0; i < 262; ++i) {
      const int32_t token = (from + i) % 262;
      if ((mask[static_cast<size_t>(token / 32)] >> token % 32 & 1) == 0) continue;
      rules->accept(token).value();
      break;
    }
  }
  return 0;
}
