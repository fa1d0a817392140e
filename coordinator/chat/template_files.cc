#include "coordinator/chat/template_files.h"

#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "base/mapped_file.h"
#include "coordinator/chat/json_text.h"

namespace mimo::chat {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kTemplateBytesMax = int64_t{1} << 20;
// tokenizer_config.json lists every added token, and may hold several templates.
constexpr int64_t kConfigBytesMax = int64_t{16} << 20;

constexpr std::array<const char*, 7> kSpecialTokens = {
    "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"};

// Nothing when there is no such file.
Result<std::optional<std::string>> read_if_there(const std::string& path, int64_t size_max) {
  auto text = read_file(path, size_max);
  if (text.ok()) return std::optional<std::string>(std::move(text).value());
  if (text.error().code == Code::kNotFound) return std::optional<std::string>();
  return text.error();
}

// {"name": ..., "template": ...} for each.
Result<void> read_named(const Json& list, const std::string& path, TemplateFiles* files) {
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string field = path + ": chat_template[" + std::to_string(i) + "]";
    const Json& entry = list[i];
    if (!entry.is_object() || !entry.contains("name") || !entry["name"].is_string() ||
        !entry.contains("template") || !entry["template"].is_string())
      return invalid_argument(field + " is " + shown(entry.dump()) +
                              ": expected an object with the texts \"name\" and \"template\"");
    if (entry["name"] == "default") files->main = entry["template"].get<std::string>();
    if (entry["name"] == "tool_use") files->tools = entry["template"].get<std::string>();
  }
  if (files->main.empty())
    return invalid_argument(path + ": chat_template has no entry named \"default\"");
  return {};
}

// A token is a text, or an object with its text in `content`; null is none.
Result<void> read_tokens(const Json& config, const std::string& path, TemplateFiles* files) {
  for (const char* name : kSpecialTokens) {
    if (!config.contains(name) || config[name].is_null()) continue;
    const Json& field = config[name];
    const bool is_object = field.is_object() && field.contains("content");
    const Json& text = is_object ? field["content"] : field;
    if (!text.is_string())
      return invalid_argument(path + ": " + name + " is " + shown(field.dump()) +
                              ": expected a text, or an object with the text \"content\"");
    files->special_tokens[name] = text.get<std::string>();
  }
  return {};
}

Result<void> read_config(const std::string& text, const std::string& path, TemplateFiles* files) {
  TRY_ASSIGN(const Json config, parse_object(text, path));
  TRY(read_tokens(config, path, files));
  if (!files->main.empty() || !config.contains("chat_template")) return {};
  const Json& field = config["chat_template"];
  if (field.is_null()) return {};
  if (field.is_array()) return read_named(field, path, files);
  if (!field.is_string())
    return invalid_argument(path + ": chat_template is " + shown(field.dump()) +
                            ": expected a text or a list of named texts");
  files->main = field.get<std::string>();
  return {};
}

}  // namespace

Result<TemplateFiles> read_template_files(const std::string& folder) {
  TemplateFiles files;
  TRY_ASSIGN(auto text, read_if_there(folder + "/chat_template.jinja", kTemplateBytesMax));
  if (text) files.main = std::move(*text);
  const std::string path = folder + "/tokenizer_config.json";
  TRY_ASSIGN(const auto config, read_if_there(path, kConfigBytesMax));
  if (config) TRY(read_config(*config, path, &files));
  return files;
}

}  // namespace mimo::chat
