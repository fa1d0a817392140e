#include "coordinator/template/chat_template.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "coordinator/template/ast.h"
#include "coordinator/template/interpreter.h"
#include "coordinator/template/json_value.h"
#include "coordinator/template/lexer.h"
#include "coordinator/template/machine.h"
#include "coordinator/template/parser.h"
#include "coordinator/template/scopes.h"
#include "coordinator/text/utf8.h"

namespace mimo::chat {

Result<ChatTemplate> ChatTemplate::parse(const std::string& source, const TemplateLimits& limits) {
  if (static_cast<int64_t>(source.size()) > limits.source_bytes_max)
    return invalid_argument("the template has " + std::to_string(source.size()) +
                            " bytes, at most " + std::to_string(limits.source_bytes_max));
  if (const size_t bad = text::find_invalid_utf8(source); bad != std::string::npos)
    return invalid_argument("the template is no UTF-8 at byte " + std::to_string(bad));
  TRY_ASSIGN(std::vector<Token> tokens, tokenize(source));
  TRY_ASSIGN(Block body, Parser(std::move(tokens), limits.nesting_max).parse());
  TRY_ASSIGN(Program program, resolve_names(std::move(body)));
  return ChatTemplate(std::make_shared<const Program>(std::move(program)), limits);
}

Result<std::string> ChatTemplate::render(const nlohmann::ordered_json& context) const {
  const std::time_t seconds = std::time(nullptr);
  std::tm now{};
  localtime_r(&seconds, &now);
  return render(context, now);
}

Result<std::string> ChatTemplate::render(const nlohmann::ordered_json& context,
                                         const std::tm& now) const {
  if (!context.is_object())
    return invalid_argument(std::string("the template's context is ") + context.type_name() +
                            ", expected an object");
  TRY_ASSIGN(const Value values, from_json(context, limits_.nesting_max));
  Machine machine(limits_, now);
  return Interpreter(*program_, machine, values.as_dict()).run();
}

}  // namespace mimo::chat
