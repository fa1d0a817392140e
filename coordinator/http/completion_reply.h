#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "coordinator/http/completion_request.h"
#include "coordinator/http/reply.h"

namespace mimo::http {

// One text_completion, or the events of one. Choice i * n + k is output k of prompt i.
class CompletionReply final : public Reply {
 public:
  CompletionReply(ReplyFacts facts, const CompletionCall& call);

  bool streamed() const override { return facts_.stream.stream; }
  bool overflowed() const override { return num_bytes_ > facts_.bytes_max; }
  void take(int32_t prompt_idx, v1::GenerateResponse message, std::string* out) override;
  void finish(std::string* out) override;

 private:
  // The four lists that a choice's logprobs are, elements with commas between.
  struct Logprobs {
    void add(const v1::TokenInfo& token);
    void append_to(std::string* out) const;
    void clear();
    size_t num_bytes() const {
      return tokens.size() + values.size() + tops.size() + offsets.size();
    }
    std::string tokens, values, tops, offsets;
    int64_t offset = 0;  // characters before the next token
  };
  struct Choice {
    std::string text;  // streamed: what is not told yet
    Logprobs logprobs;
    v1::FinishedEvent finished;
  };

  using Tokens = google::protobuf::RepeatedPtrField<v1::TokenInfo>;

  void add(const std::string& text, const Tokens& tokens, Choice* choice);
  Choice& choice_of(int32_t prompt_idx, int32_t output_idx);
  void take_prompt(int32_t prompt_idx, const v1::PromptEvent& prompt, std::string* out);
  void put_chunk(int32_t prompt_idx, int32_t output_idx, bool ends, std::string* out);
  void append_choice(size_t choice_idx, const Choice& choice, bool ends, std::string* out) const;
  v1::Usage usage() const;

  const ReplyFacts facts_;
  const std::string head_;
  const int32_t num_outputs_;
  const bool only_prompt_;
  std::vector<std::string> echoes_;  // a prompt's text; empty: not echoed
  std::vector<Choice> choices_;
  std::vector<v1::Usage> usages_;  // a prompt
  int64_t num_bytes_ = 0;          // of the choices, roughly; streamed: that one message made
};

}  // namespace mimo::http
