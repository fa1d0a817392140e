#include "coordinator/config.h"

#define TOML_EXCEPTIONS 0
#define TOML_ENABLE_FORMATTERS 0
#include <toml++/toml.h>

#include <charconv>
#include <cstdint>
#include <limits>
#include <sstream>
#include <string_view>
#include <variant>

namespace mimo::coordinator {
namespace {

constexpr double kMany = 2147483647;
constexpr double kManyBytes = 1e15;
// gRPC counts a message's bytes in 32 bits.
constexpr double kMessageBytes = 2147483647;

struct Field {
  std::string_view key;
  std::variant<std::string*, int32_t*, int64_t*, double*, bool*> target;
  double low = 0;  // of numbers, inclusive
  double high = 0;
};

std::vector<Field> fields(CoordinatorOptions* o) {
  auto& api = o->api;
  auto& http = o->http;
  auto& cluster = o->cluster;
  auto& engine = o->engine;
  return {
      {"model", &o->model},
      {"served_name", &o->served_name},
      {"tp", &o->tp, 1, 64},
      {"experts", &o->experts},
      {"log_level", &o->log_level},
      {"api.listen", &api.listen},
      {"api.requests_max", &api.requests_max, 1, 1e6},
      {"api.sequences_max", &api.sequences_max, 0, 1e6},
      {"api.num_sequences_max", &api.num_sequences_max, 1, 64},
      {"api.candidates_max", &api.candidates_max, 0, 1024},
      {"api.max_tokens_max", &api.max_tokens_max, 0, kMany},
      {"api.prompt_bytes_max", &api.prompt_bytes_max, 1, kMessageBytes},
      {"api.message_bytes_max", &api.message_bytes_max, 1024, kMessageBytes},
      {"api.stream_bytes_max", &api.stream_bytes_max, 1024, kManyBytes},
      {"api.reader_grace_s", &api.reader_grace_s, 0, 86400},
      {"api.tokenizer_threads", &api.tokenizer_threads, 1, 256},
      {"api.reflection", &api.reflection},
      {"api.keepalive_s", &api.keepalive_s, 1, 86400},
      {"api.keepalive_timeout_s", &api.keepalive_timeout_s, 0.1, 86400},
      {"api.ping_interval_min_s", &api.ping_interval_min_s, 0.1, 86400},
      {"api.stall_s", &api.stall_s, 0.1, 86400},
      {"api.drain_timeout_s", &api.drain_timeout_s, 0, 86400},
      {"http.listen", &http.listen},
      {"http.connections_max", &http.connections_max, 1, 1e6},
      {"http.header_bytes_max", &http.header_bytes_max, 1024, 1e6},
      {"http.body_bytes_max", &http.body_bytes_max, 1024, kMessageBytes},
      {"http.idle_timeout_s", &http.idle_timeout_s, 0.1, 86400},
      {"http.request_timeout_s", &http.request_timeout_s, 0.1, 86400},
      {"http.write_timeout_s", &http.write_timeout_s, 0.1, 86400},
      {"http.threads", &http.threads, 1, 256},
      {"cluster.listen", &cluster.listen},
      {"cluster.heartbeat_interval_s", &cluster.heartbeat_interval_s, 0.01, 3600},
      {"cluster.heartbeat_timeout_s", &cluster.heartbeat_timeout_s, 0.05, 86400},
      {"cluster.form_timeout_s", &cluster.form_timeout_s, 0.1, 86400},
      {"cluster.load_timeout_s", &cluster.load_timeout_s, 0.1, 86400},
      {"cluster.shutdown_workers", &cluster.shutdown_workers},
      {"engine.page_tokens", &engine.page_tokens, 16, 128},
      {"engine.kv_bytes", &engine.kv_bytes, 0, kManyBytes},
      {"engine.full_pages", &engine.full_pages, 0, kMany},
      {"engine.window_pages", &engine.window_pages, 0, kMany},
      {"engine.sequences_max", &engine.sequences_max, 1, 65536},
      {"engine.waiting_max", &engine.waiting_max, 0, 1e6},
      {"engine.batch_tokens_max", &engine.batch_tokens_max, 1, 1e6},
      {"engine.prefill_chunk_max", &engine.prefill_chunk_max, 1, 1e6},
      {"engine.positions_max", &engine.positions_max, 0, kMany},
      {"engine.mode", &engine.mode},
      {"engine.step_timeout_s", &engine.step_timeout_s, 0.1, 86400},
      {"metrics.listen", &o->metrics.listen},
      {"generation.use_checkpoint_defaults", &o->generation.use_checkpoint_defaults},
      {"debug.logits", &o->debug.logits},
  };
}

std::string number_text(double value) {
  std::ostringstream out;
  out.precision(15);
  out << value;
  return out.str();
}

std::string value_text(const Field& field) {
  struct Print {
    std::string operator()(const std::string* value) const { return *value; }
    std::string operator()(const int32_t* value) const { return std::to_string(*value); }
    std::string operator()(const int64_t* value) const { return std::to_string(*value); }
    std::string operator()(const double* value) const { return number_text(*value); }
    std::string operator()(const bool* value) const { return *value ? "true" : "false"; }
  };
  return std::visit(Print{}, field.target);
}

const char* expected_text(const Field& field) {
  constexpr const char* kNames[] = {"a string", "a whole number", "a whole number", "a number",
                                    "true or false"};
  return kNames[field.target.index()];
}

Error bad_value(std::string_view key, const std::string& value, const std::string& expected) {
  return invalid_argument(std::string(key) + " = " + value + ": expected " + expected);
}

Result<Field> find_field(const std::string& key, CoordinatorOptions* options) {
  for (const Field& field : fields(options))
    if (field.key == key) return field;
  return invalid_argument("\"" + key + "\": no such key");
}

// --- Values ------------------------------------------------------------------------------------

Result<void> set_number(const Field& field, int64_t value) {
  if (auto* const* target = std::get_if<int32_t*>(&field.target)) {
    if (value < std::numeric_limits<int32_t>::min() || value > std::numeric_limits<int32_t>::max())
      return bad_value(field.key, std::to_string(value), "a whole number of 32 bits");
    **target = static_cast<int32_t>(value);
    return {};
  }
  if (auto* const* target = std::get_if<int64_t*>(&field.target)) {
    **target = value;
    return {};
  }
  if (auto* const* target = std::get_if<double*>(&field.target)) {
    **target = static_cast<double>(value);
    return {};
  }
  return bad_value(field.key, std::to_string(value), expected_text(field));
}

Result<void> set_from_toml(const Field& field, const toml::node& node) {
  if (const auto* value = node.as_integer()) return set_number(field, value->get());
  if (const auto* value = node.as_string()) {
    if (auto* const* target = std::get_if<std::string*>(&field.target)) {
      **target = value->get();
      return {};
    }
    return bad_value(field.key, "\"" + value->get() + "\"", expected_text(field));
  }
  if (const auto* value = node.as_boolean()) {
    if (auto* const* target = std::get_if<bool*>(&field.target)) {
      **target = value->get();
      return {};
    }
    return bad_value(field.key, value->get() ? "true" : "false", expected_text(field));
  }
  if (const auto* value = node.as_floating_point()) {
    if (auto* const* target = std::get_if<double*>(&field.target)) {
      **target = value->get();
      return {};
    }
    return bad_value(field.key, number_text(value->get()), expected_text(field));
  }
  return invalid_argument(std::string(field.key) + ": expected " + expected_text(field));
}

Result<void> set_from_text(const std::string& key, const std::string& text,
                           CoordinatorOptions* options) {
  TRY_ASSIGN(const Field field, find_field(key, options));
  if (auto* const* target = std::get_if<std::string*>(&field.target)) {
    **target = text;
    return {};
  }
  if (auto* const* target = std::get_if<bool*>(&field.target)) {
    if (text != "true" && text != "false") return bad_value(key, text, expected_text(field));
    **target = text == "true";
    return {};
  }
  const char* end = text.data() + text.size();
  if (auto* const* target = std::get_if<double*>(&field.target)) {
    double value = 0;
    const auto parsed = std::from_chars(text.data(), end, value);
    if (parsed.ec != std::errc() || parsed.ptr != end)
      return bad_value(key, text, expected_text(field));
    **target = value;
    return {};
  }
  int64_t value = 0;
  const auto parsed = std::from_chars(text.data(), end, value);
  if (parsed.ec != std::errc() || parsed.ptr != end)
    return bad_value(key, text, expected_text(field));
  return set_number(field, value);
}

Result<void> set_from_table(const toml::table& table, const std::string& prefix,
                            CoordinatorOptions* options) {
  for (const auto& [name, node] : table) {
    const std::string key = prefix + std::string(name.str());
    if (const auto* inner = node.as_table()) {
      TRY(set_from_table(*inner, key + ".", options));
      continue;
    }
    TRY_ASSIGN(const Field field, find_field(key, options));
    TRY(set_from_toml(field, node));
  }
  return {};
}

Result<void> set_from_file(const std::string& path, CoordinatorOptions* options) {
  const toml::parse_result parsed = toml::parse_file(path);
  if (!parsed) {
    std::ostringstream where;
    where << path << ":" << parsed.error().source().begin.line << ": "
          << parsed.error().description();
    return invalid_argument(where.str());
  }
  auto set = set_from_table(parsed.table(), "", options);
  if (!set.ok()) return set.error().with_context(path);
  return {};
}

Result<void> one_of(std::string_view key, const std::string& value,
                    std::initializer_list<const char*> allowed) {
  std::string list;
  for (const char* each : allowed) {
    if (value == each) return {};
    list += std::string(list.empty() ? "\"" : ", \"") + each + "\"";
  }
  return bad_value(key, "\"" + value + "\"", "one of " + list);
}

// "host:port", the port a number.
Result<void> check_address(std::string_view key, const std::string& value) {
  const size_t colon = value.rfind(':');
  int32_t port = -1;
  if (colon != std::string::npos && colon > 0) {
    const char* end = value.data() + value.size();
    const auto parsed = std::from_chars(value.data() + colon + 1, end, port);
    if (parsed.ec != std::errc() || parsed.ptr != end) port = -1;
  }
  if (port < 0 || port > 65535)
    return bad_value(key, "\"" + value + "\"", "host:port, port 0 to 65535");
  return {};
}

// The key that a flag stands for.
std::string_view flag_key(std::string_view flag) {
  if (flag == "--model") return "model";
  if (flag == "--tp") return "tp";
  if (flag == "--listen") return "api.listen";
  if (flag == "--http-listen") return "http.listen";
  if (flag == "--cluster-listen") return "cluster.listen";
  if (flag == "--metrics-listen") return "metrics.listen";
  return "";
}

Result<void> apply_flag(const std::string& flag, const std::string& value, CommandLine* line) {
  if (flag == "--config") return {};
  if (flag == "--print-ports") {
    line->print_ports = value;
    return {};
  }
  if (flag == "--set") {
    const size_t equals = value.find('=');
    if (equals == std::string::npos)
      return invalid_argument("--set " + value + ": expected key=value");
    return set_from_text(value.substr(0, equals), value.substr(equals + 1), &line->options);
  }
  const std::string_view key = flag_key(flag);
  if (key.empty()) return invalid_argument(flag + ": no such flag");
  return set_from_text(std::string(key), value, &line->options);
}

}  // namespace

Result<void> CoordinatorOptions::validate() const {
  CoordinatorOptions copy = *this;  // the table points into it
  for (const Field& field : fields(&copy)) {
    double value = 0;
    if (auto* const* target = std::get_if<int32_t*>(&field.target)) {
      value = **target;
    } else if (auto* const* wide = std::get_if<int64_t*>(&field.target)) {
      value = static_cast<double>(**wide);
    } else if (auto* const* real = std::get_if<double*>(&field.target)) {
      value = **real;
    } else {
      continue;
    }
    if (!(value >= field.low && value <= field.high))
      return bad_value(field.key, value_text(field),
                       "[" + number_text(field.low) + ", " + number_text(field.high) + "]");
  }
  if (model.empty()) return invalid_argument("model is not set: expected a checkpoint's folder");
  TRY(one_of("experts", experts, {"", "columns", "whole"}));
  TRY(one_of("engine.mode", engine.mode, {"auto", "f32", "device", "invariant"}));
  TRY(one_of("log_level", log_level, {"debug", "info", "warning", "error"}));
  TRY(check_address("api.listen", api.listen));
  if (!http.listen.empty()) TRY(check_address("http.listen", http.listen));
  TRY(check_address("cluster.listen", cluster.listen));
  TRY(check_address("metrics.listen", metrics.listen));
  if (cluster.heartbeat_timeout_s <= cluster.heartbeat_interval_s)
    return bad_value(
        "cluster.heartbeat_timeout_s", number_text(cluster.heartbeat_timeout_s),
        "more than cluster.heartbeat_interval_s = " + number_text(cluster.heartbeat_interval_s));
  if (engine.batch_tokens_max < engine.sequences_max)
    return bad_value("engine.batch_tokens_max", std::to_string(engine.batch_tokens_max),
                     "at least engine.sequences_max = " + std::to_string(engine.sequences_max));
  if (engine.prefill_chunk_max > engine.batch_tokens_max)
    return bad_value(
        "engine.prefill_chunk_max", std::to_string(engine.prefill_chunk_max),
        "at most engine.batch_tokens_max = " + std::to_string(engine.batch_tokens_max));
  return {};
}

Result<CommandLine> parse_command_line(const std::vector<std::string>& arguments) {
  CommandLine line;
  std::vector<std::pair<std::string, std::string>> given;
  for (size_t i = 0; i < arguments.size(); ++i) {
    std::string flag = arguments[i];
    if (flag == "--help" || flag == "-h") {
      line.help = true;
      return line;
    }
    const size_t equals = flag.find('=');
    if (flag.rfind("--", 0) == 0 && equals != std::string::npos) {
      given.emplace_back(flag.substr(0, equals), flag.substr(equals + 1));
      continue;
    }
    if (i + 1 == arguments.size()) return invalid_argument(flag + ": expected a value behind it");
    given.emplace_back(std::move(flag), arguments[++i]);
  }
  for (const auto& [flag, value] : given)
    if (flag == "--config") TRY(set_from_file(value, &line.options));
  for (const auto& [flag, value] : given) TRY(apply_flag(flag, value, &line));
  TRY(line.options.validate());
  return line;
}

std::string usage() {
  std::string text =
      "mimo-coordinator: the front door of a MiMo server.\n\n"
      "  --model DIR             the checkpoint\n"
      "  --tp N                  ranks of the group\n"
      "  --listen HOST:PORT      the API (port 0: any)\n"
      "  --http-listen ...       OpenAI's API over HTTP; empty: none\n"
      "  --cluster-listen ...    where workers join\n"
      "  --metrics-listen ...    /metrics over HTTP\n"
      "  --config FILE           TOML; flags and --set are stronger\n"
      "  --set KEY=VALUE         any key of the file\n"
      "  --print-ports FILE      writes the bound addresses there as JSON\n\n"
      "Keys and their defaults:\n";
  for (const auto& [key, value] : effective_config({})) text += "  " + key + " = " + value + "\n";
  return text;
}

std::vector<std::pair<std::string, std::string>> effective_config(
    const CoordinatorOptions& options) {
  CoordinatorOptions copy = options;  // the table points into it
  std::vector<std::pair<std::string, std::string>> lines;
  for (const Field& field : fields(&copy)) lines.emplace_back(field.key, value_text(field));
  return lines;
}

}  // namespace mimo::coordinator
