#pragma once

#include <cstdint>
#include <deque>
#include <string>

#include "mimo/v1/inference.pb.h"

namespace mimo::coordinator {

// One stream's messages that are not written yet. Tokens of one output that wait together become
// one message. Nothing is ready before the prompt event, which is first however late it comes.
//
// Thread:    one at a time.
// Invariant: an output's messages leave in the order in which they came.
class Outbox final {
 public:
  explicit Outbox(std::string request_id) : request_id_(std::move(request_id)) {}

  // Where the output's next token goes: the message that waits already, or a new one. Call
  // added(bytes) after adding to it.
  v1::TokenEvent& token_event(int32_t output_idx);
  void added(int64_t bytes);

  // The first message.
  void put_prompt(v1::PromptEvent event, const v1::Usage& usage);
  void put_finished(v1::FinishedEvent event, const v1::Usage& usage);
  // The last message: nothing is put after it. Without a prompt event what waits is dropped.
  void put_error(v1::ErrorEvent event, const v1::Usage& usage);

  bool ready() const { return prompt_put_ && !waiting_.empty(); }
  // The oldest message. Only when ready().
  v1::GenerateResponse take();
  // Bytes of tokens that wait, roughly; the prompt event does not count.
  int64_t token_bytes() const { return token_bytes_; }

 private:
  struct Waiting {
    v1::GenerateResponse message;
    int64_t token_bytes = 0;
  };
  v1::GenerateResponse& append();

  std::string request_id_;
  std::deque<Waiting> waiting_;
  int64_t token_bytes_ = 0;
  bool prompt_put_ = false;
};

}  // namespace mimo::coordinator
