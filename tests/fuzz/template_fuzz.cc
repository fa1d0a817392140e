#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "coordinator/template/chat_template.h"

// A template from anybody: read or refused, rendered or refused, within its limits.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto context = nlohmann::ordered_json::parse(R"({
      "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": null}],
      "tools": [{"function": {"name": "f"}}], "x": 1, "y": [1, 2.5, "z"], "s": "some <text>"})");
  mimo::chat::TemplateLimits limits;
  limits.steps_max = 20'000;
  limits.output_bytes_max = 100'000;
  const std::string source(reinterpret_cast<const char*>(data), size);
  const auto parsed = mimo::chat::ChatTemplate::parse(source, limits);
  if (!parsed.ok()) return 0;
  const auto text = parsed.value().render(context);
  if (text.ok() && text.value().size() > 100'000) __builtin_trap();
  return 0;
}
