#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "coordinator/sessions/generate_spec.h"
#include "coordinator/sessions/outbox.h"
#include "coordinator/text/tokenizer.h"
#include "tests/coordinator/text/small_tokenizer.h"

namespace mimo::coordinator {

// Ids 0 to 255 are bytes, 256 "ab", 257 "abc", 300 the special "<end>", which ends.
constexpr int32_t kEnd = 300;

inline std::unique_ptr<text::Tokenizer> byte_tokenizer() {
  return text::Tokenizer::from_json(text::small_tokenizer().dump()).value();
}

inline std::vector<int32_t> bytes_of(const std::string& text) {
  std::vector<int32_t> ids;
  for (const char c : text) ids.push_back(static_cast<uint8_t>(c));
  return ids;
}

inline RequestLimits small_limits() {
  RequestLimits limits;
  limits.model = "small";
  limits.vocab_limit = 301;
  limits.positions_max = 4096;
  limits.has_tokenizer = true;
  limits.eos_ids = {kEnd};
  return limits;
}

// What a client has made of its stream.
struct StreamRecord {
  struct Output {
    std::string text;
    std::vector<int32_t> ids;
    std::vector<v1::TokenInfo> tokens;
    std::vector<v1::FinishedEvent> finished;
    bool spoke_after_end = false;
  };

  void add(const v1::GenerateResponse& message) {
    ++num_messages;
    if (!errors.empty()) spoke_after_error = true;
    if (message.has_prompt()) {
      if (num_messages > 1) prompt_late = true;
      prompts.push_back(message.prompt());
    } else if (message.has_token()) {
      Output& output = outputs[message.token().output_index()];
      if (!output.finished.empty()) output.spoke_after_end = true;
      output.text += message.token().text();
      for (const v1::TokenInfo& token : message.token().tokens()) {
        output.ids.push_back(token.token_id());
        output.tokens.push_back(token);
      }
    } else if (message.has_finished()) {
      Output& output = outputs[message.finished().output_index()];
      output.text += message.finished().text();
      output.finished.push_back(message.finished());
    } else if (message.has_error()) {
      errors.push_back(message.error());
    }
    if (message.has_usage()) usage = message.usage();
  }
  void drain(Outbox* outbox) {
    while (outbox->ready()) add(outbox->take());
  }

  int32_t num_messages = 0;
  std::vector<v1::PromptEvent> prompts;
  std::map<int32_t, Output> outputs;
  std::vector<v1::ErrorEvent> errors;
  v1::Usage usage;
  bool prompt_late = false;
  bool spoke_after_error = false;
};

}  // namespace mimo::coordinator
