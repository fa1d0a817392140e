#include "coordinator/chat/prompter.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "coordinator/chat/conversation.h"
#include "coordinator/chat/template_files.h"

namespace mimo::chat {

Result<std::unique_ptr<Prompter>> Prompter::load(const std::string& folder) {
  TRY_ASSIGN(const TemplateFiles files, read_template_files(folder));
  auto made = create(files);
  if (!made.ok()) return made.error().with_context(folder);
  return made;
}

Result<std::unique_ptr<Prompter>> Prompter::create(const TemplateFiles& files) {
  std::unique_ptr<Prompter> prompter(new Prompter());
  prompter->special_tokens_ = files.special_tokens;
  if (!files.main.empty()) {
    auto parsed = ChatTemplate::parse(files.main);
    if (!parsed.ok()) return parsed.error().with_context("chat template");
    prompter->main_ = std::move(parsed).value();
  }
  if (!files.tools.empty()) {
    auto parsed = ChatTemplate::parse(files.tools);
    if (!parsed.ok()) return parsed.error().with_context("chat template \"tool_use\"");
    prompter->tools_ = std::move(parsed).value();
  }
  return prompter;
}

Result<std::string> Prompter::render(const v1::ChatRequest& request) const {
  TRY_ASSIGN(const Conversation conversation, read_conversation(request));
  return render(conversation);
}

Result<std::string> Prompter::render(const Conversation& conversation) const {
  if (!main_)
    return Error{Code::kFailedPrecondition,
                 "the checkpoint has no chat template: neither chat_template.jinja nor "
                 "chat_template in tokenizer_config.json"};
  nlohmann::ordered_json context = conversation.context;
  for (const auto& [name, text] : special_tokens_)
    if (!context.contains(name)) context[name] = text;
  const bool has_tools = !conversation.tools.empty();
  const ChatTemplate& chosen = has_tools && tools_ ? *tools_ : *main_;
  auto text = chosen.render(context);
  if (!text.ok()) return text.error().with_context("chat template");
  return text;
}

}  // namespace mimo::chat
