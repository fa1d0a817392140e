#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/result.h"

namespace mimo::chat {

// What a checkpoint's folder says about chats.
struct TemplateFiles {
  std::string main;   // empty: the folder has no chat template
  std::string tools;  // the one for requests with tools, where the folder has one of its own
  // bos_token and its kin, as templates name them.
  std::map<std::string, std::string> special_tokens;
};

// chat_template.jinja, else tokenizer_config.json's chat_template: a text, or a list of named
// texts. A folder without either is no error. kInvalidArgument names the file and the field.
Result<TemplateFiles> read_template_files(const std::string& folder);

}  // namespace mimo::chat
