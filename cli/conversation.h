#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "mimo/v1/chat.pb.h"

namespace mimo::cli {

// What has been said, and how the next answer is to be drawn. Every message that is said is
// answered or withdrawn before the next.
//
// Thread: one.
class Conversation {
 public:
  // `settings`: all but the messages. `system`: the first message, where not empty.
  Conversation(v1::ChatRequest settings, std::string system);

  const std::string& system() const { return system_; }
  void set_system(std::string text) { system_ = std::move(text); }
  void set_thinking(bool on) { settings_.set_enable_thinking(on); }
  void set_temperature(std::optional<float> value);

  // The call of the last answer that has no result yet; nullptr when the user is to speak.
  const v1::ToolCall* open_call() const;
  // The user's message or, with a call open, its result.
  void say(const std::string& text);
  // Once all calls have results, or the user has spoken.
  v1::ChatRequest request() const;
  // The reply to all that was said.
  void answered(const v1::ChatMessage& reply);
  // Takes back what was said since the last reply. Results of calls stay: they are still true.
  void withdraw();
  // Forgets everything but the system prompt.
  void reset() { messages_.Clear(); }

 private:
  v1::ChatRequest settings_;
  std::string system_;
  google::protobuf::RepeatedPtrField<v1::ChatMessage> messages_;
};

// Puts a delta behind what came before it. kInternal, and nothing changed, when it belongs to a
// call that cannot be.
Result<void> add_delta(const v1::ChatDelta& delta, v1::ChatMessage& reply);

}  // namespace mimo::cli
