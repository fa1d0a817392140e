#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "coordinator/template/chat_template.h"
#include "mimo/v1/chat.pb.h"

namespace mimo::chat {

struct Conversation;
struct TemplateFiles;

// Conversations as the texts that their model was trained on, by the checkpoint's own template.
//
// Thread: any; it does not change.
class Prompter final {
 public:
  // From a checkpoint's folder. One without a template makes a prompter that refuses every
  // conversation. kInvalidArgument: what is there cannot be read, or is no template.
  static Result<std::unique_ptr<Prompter>> load(const std::string& folder);
  static Result<std::unique_ptr<Prompter>> create(const TemplateFiles& files);

  bool has_template() const { return main_.has_value(); }

  // The prompt. kInvalidArgument naming the field, or with the template's own message when it
  // refuses the conversation; kFailedPrecondition when there is no template.
  Result<std::string> render(const v1::ChatRequest& request) const;
  Result<std::string> render(const Conversation& conversation) const;

 private:
  Prompter() = default;

  std::optional<ChatTemplate> main_;
  std::optional<ChatTemplate> tools_;  // in place of main_ where a request has tools
  std::map<std::string, std::string> special_tokens_;
};

}  // namespace mimo::chat
