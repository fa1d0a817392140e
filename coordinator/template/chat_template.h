#pragma once

#include <cstdint>
#include <ctime>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/result.h"
#include "coordinator/template/template_limits.h"

namespace mimo::chat {

struct Program;

// A chat template as Hugging Face checkpoints ship it: Jinja as transformers sets it up
// (trim_blocks, lstrip_blocks, `generation` blocks, break and continue, tojson as plain JSON,
// raise_exception, strftime_now, nothing that changes a list or a dict).
//
// Thread:    any; render() changes nothing.
// Invariant: every rendering ends within the limits, whatever the template and the context are.
class ChatTemplate final {
 public:
  // INVALID_ARGUMENT with the line, what was found and what was expected.
  static Result<ChatTemplate> parse(const std::string& source, const TemplateLimits& limits = {});

  // `context` is an object: messages, tools, add_generation_prompt, bos_token and whatever else the
  // template asks for. INVALID_ARGUMENT where the template fails: with the line, or, from
  // raise_exception, its message as it is. `now` is what strftime_now tells; the first form takes
  // the machine's local time.
  Result<std::string> render(const nlohmann::ordered_json& context) const;
  Result<std::string> render(const nlohmann::ordered_json& context, const std::tm& now) const;

 private:
  ChatTemplate(std::shared_ptr<const Program> program, const TemplateLimits& limits)
      : program_(std::move(program)), limits_(limits) {}

  // Shared by copies of the template; never changed.
  std::shared_ptr<const Program> program_;
  TemplateLimits limits_;
};

}  // namespace mimo::chat
