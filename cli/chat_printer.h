#pragma once

#include <cstdio>
#include <string>
#include <string_view>

#include "mimo/v1/chat.pb.h"

namespace mimo::cli {

// `text` with nothing in it that a terminal obeys: control characters but line breaks and tabs
// become their pictures.
std::string harmless(std::string_view text);

// Writes answers as they stream: thinking dimmed, tool calls marked.
//
// Thread: one.
class ChatPrinter {
 public:
  struct Options {
    bool terminal = false;  // notes between the answers, and nothing that a terminal obeys
    bool colour = false;
    bool reasoning = false;  // show it
  };

  ChatPrinter(const Options& options, std::FILE* out) : options_(options), out_(out) {}

  void delta(const v1::ChatDelta& delta);
  // Ends the answer's last line. `note`, on a terminal: what the answer took.
  void finish(std::string_view note);
  // A line of ours between the answers; on a terminal only.
  void note(std::string_view text);

 private:
  enum class Part { kNone, kReasoning, kContent, kCall };
  void enter(Part part);
  void write(std::string_view text);
  void style(const char* sequence);
  void call(const v1::ToolCallDelta& part);

  const Options options_;
  std::FILE* const out_;
  Part part_ = Part::kNone;
  int32_t call_ = -1;
  bool line_open_ = false;
};

}  // namespace mimo::cli
