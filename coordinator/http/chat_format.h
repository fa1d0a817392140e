#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "coordinator/http/reply.h"
#include "mimo/v1/chat.pb.h"

namespace mimo::http {

// A chat's events as OpenAI's clients read them.
//
// Thread: one.
class ChatFormat {
 public:
  virtual ~ChatFormat() = default;
  virtual void take(const v1::ChatResponse& event, std::string* out) = 0;
  virtual void finish(std::string* out) = 0;
  virtual bool overflowed() const { return false; }
};

// Server-sent events: a chunk a delta, the first one of an output with its role alone.
class ChatChunks final : public ChatFormat {
 public:
  explicit ChatChunks(ReplyFacts facts);
  void take(const v1::ChatResponse& event, std::string* out) override;
  void finish(std::string* out) override;

 private:
  void begin_output(int32_t output_idx, std::string* out);
  void put_delta(const v1::ChatDelta& delta, std::string* out);
  void put_end(const v1::ChatFinished& finished, std::string* out);
  void open_chunk(int32_t output_idx, std::string* out) const;
  void close_chunk(std::string* out) const;

  const ReplyFacts facts_;
  const std::string head_;
  std::map<int32_t, bool> begun_;
  v1::Usage usage_;
};

// One chat.completion. Of what comes when it has overflowed nothing is kept.
class ChatBody final : public ChatFormat {
 public:
  explicit ChatBody(ReplyFacts facts) : facts_(std::move(facts)) {}
  void take(const v1::ChatResponse& event, std::string* out) override;
  bool overflowed() const override { return num_bytes_ > facts_.bytes_max; }
  void finish(std::string* out) override;

 private:
  struct Choice {
    std::string content;
    std::string reasoning;
    std::vector<v1::ToolCallDelta> calls;  // arguments put together
    std::string logprobs;                  // elements, comma between
    v1::ChatFinished finished;
  };
  void take_delta(const v1::ChatDelta& delta);
  void append_choice(int32_t output_idx, const Choice& choice, std::string* out) const;

  const ReplyFacts facts_;
  std::map<int32_t, Choice> choices_;
  int64_t num_bytes_ = 0;  // of them, roughly
  v1::Usage usage_;
};

}  // namespace mimo::http
