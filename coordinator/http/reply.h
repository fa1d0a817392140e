#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "coordinator/http/sampling_fields.h"
#include "coordinator/text/tokenizer.h"
#include "mimo/v1/inference.pb.h"

namespace mimo::http {

// What every reply tells of itself.
struct ReplyFacts {
  std::string id;  // "chatcmpl-..."
  int64_t created = 0;
  std::string model;
  std::string fingerprint;
  StreamFields stream;
  bool logprobs = false;
  std::vector<int32_t> eos_ids;   // not told as a stop_reason
  int64_t bytes_max = INT64_MAX;  // of one body, or of what one message becomes in a stream
  const text::Tokenizer* tokenizer = nullptr;  // outlives the reply; nullptr: ids only
};

// What a request's messages become on the wire: events of a stream, or one body.
//
// Thread: one.
class Reply {
 public:
  virtual ~Reply() = default;
  // Whether what take() appends may go out at once.
  virtual bool streamed() const = 0;
  // One message of prompt `prompt_idx`. Prompt and error events append nothing.
  virtual void take(int32_t prompt_idx, v1::GenerateResponse message, std::string* out) = 0;
  // More than `bytes_max` has come together: nothing further is taken, and it cannot be finished.
  virtual bool overflowed() const = 0;
  // All prompts are done.
  virtual void finish(std::string* out) = 0;
};

// The last event of a stream that ends well.
constexpr const char* kStreamEnd = "data: [DONE]\n\n";

// "prompt_tokens": ... as an object.
void append_usage(const v1::Usage& usage, std::string* out);
// {"id":...,"object":`object`,"created":...,"model":...,"system_fingerprint":...,"choices":[
std::string reply_head(const ReplyFacts& facts, const char* object);

// What stopped an output, if the request named it: its text in quotes or its id, and else null.
template <typename Finished>
void append_stop_reason(const ReplyFacts& facts, const Finished& finished, std::string* out);

}  // namespace mimo::http
