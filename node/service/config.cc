#include "node/service/config.h"

#include <arpa/inet.h>
#include <toml++/toml.h>

#include <array>
#include <charconv>
#include <functional>
#include <random>

namespace mimo::node {
namespace {

using Setter = std::function<Result<void>(WorkerConfig&, const std::string&)>;

struct Key {
  const char* name;
  const char* help;
  Setter set;
  std::function<std::string(const WorkerConfig&)> get;
};

Key text_key(const char* name, std::string WorkerConfig::*field, const char* help) {
  return {name, help,
          [field](WorkerConfig& config, const std::string& value) -> Result<void> {
            config.*field = value;
            return {};
          },
          [field](const WorkerConfig& config) { return config.*field; }};
}

template <typename Number>
Key number_key(const char* name, Number WorkerConfig::*field, const char* help) {
  return {name, help,
          [field, name](WorkerConfig& config, const std::string& value) -> Result<void> {
            Number number{};
            const char* end = value.data() + value.size();
            const auto [stop, error] = std::from_chars(value.data(), end, number);
            if (error != std::errc{} || stop != end) {
              return invalid_argument(std::string(name) + " \"" + value +
                                      (std::is_integral_v<Number> ? "\"; expected a whole number"
                                                                  : "\"; expected a number"));
            }
            config.*field = number;
            return {};
          },
          [field](const WorkerConfig& config) { return std::to_string(config.*field); }};
}

const std::vector<Key>& keys() {
  static const std::vector<Key> all = {
      text_key("coordinator", &WorkerConfig::coordinator,
               "host:port of the coordinator's cluster address (must be given)"),
      text_key("listen", &WorkerConfig::listen, "host:port to listen on; port 0: any free one"),
      text_key("advertise", &WorkerConfig::advertise,
               "the host that others dial, when listen's host is not it"),
      text_key("metrics", &WorkerConfig::metrics, "host:port of /metrics"),
      text_key("worker_id", &WorkerConfig::worker_id, "unique among the workers; empty: random"),
      text_key("backend", &WorkerConfig::backend, "cpu or cuda"),
      number_key("device", &WorkerConfig::device, "ordinal of the GPU"),
      number_key("memory_fraction", &WorkerConfig::memory_fraction,
                 "of the GPU's memory that may be taken"),
      number_key("threads", &WorkerConfig::threads, "of the backend; 0: as many as cores"),
      number_key("load_threads", &WorkerConfig::load_threads, "that read and cut weights"),
      number_key("memory_bytes_max", &WorkerConfig::memory_bytes_max,
                 "bound of the backend's memory; 0: none"),
      text_key("log_level", &WorkerConfig::log_level, "debug, info, warning or error"),
  };
  return all;
}

std::string dashed(std::string name) {
  for (char& c : name) {
    if (c == '_') c = '-';
  }
  return name;
}

Result<void> set_key(WorkerConfig& config, const std::string& name, const std::string& value,
                     const std::string& source) {
  for (const Key& key : keys()) {
    if (key.name == name) {
      const Result<void> set = key.set(config, value);
      return set.ok() ? set : set.error().with_context(source);
    }
  }
  std::string known;
  for (const Key& key : keys()) known += (known.empty() ? "" : ", ") + std::string(key.name);
  return invalid_argument(source + ": unknown key \"" + name + "\"; known are " + known);
}

Result<void> read_file(WorkerConfig& config, const std::string& path) {
  toml::table table;
  try {
    table = toml::parse_file(path);
  } catch (const toml::parse_error& error) {
    return invalid_argument(path + ":" + std::to_string(error.source().begin.line) + ": " +
                            std::string(error.description()));
  }
  for (const auto& [key, node] : table) {
    const std::string name(key.str());
    std::string value;
    if (const auto* text = node.as_string()) {
      value = text->get();
    } else if (const auto* number = node.as_integer()) {
      value = std::to_string(number->get());
    } else if (const auto* real = node.as_floating_point()) {
      value = std::to_string(real->get());
    } else {
      return invalid_argument(path + ": " + name + "; expected a text or a number");
    }
    TRY(set_key(config, name, value, path));
  }
  return {};
}

std::string random_id() {
  std::random_device device;
  char text[20];
  std::snprintf(text, sizeof text, "w-%08x%04x", device(), device() & 0xffff);
  return text;
}

constexpr std::array<std::pair<const char*, LogLevel>, 4> kLevels = {
    {{"debug", LogLevel::kDebug},
     {"info", LogLevel::kInfo},
     {"warning", LogLevel::kWarning},
     {"error", LogLevel::kError}}};

}  // namespace

Result<void> WorkerConfig::validate() const {
  if (coordinator.empty()) {
    return invalid_argument("coordinator is not given; expected --coordinator host:port");
  }
  TRY(parse_host_port("coordinator", coordinator));
  TRY(parse_host_port("listen", listen));
  TRY(parse_host_port("metrics", metrics));
  // The group's other ranks dial it, so it is one interface of this machine and not all of them.
  uint8_t bytes[16];
  const std::string address = host();
  const bool v4 = inet_pton(AF_INET, address.c_str(), bytes) == 1;
  const bool v6 = !v4 && inet_pton(AF_INET6, address.c_str(), bytes) == 1;
  if ((!v4 && !v6) || address == "0.0.0.0" || address == "::") {
    return invalid_argument(
        (advertise.empty() ? "listen host \"" : "advertise \"") + address +
        "\"; expected the numeric address that other workers reach this one by" +
        (advertise.empty() ? " (or set advertise)" : ""));
  }
  if (backend != "cpu" && backend != "cuda") {
    return invalid_argument("backend \"" + backend + "\"; expected cpu or cuda");
  }
  if (!(memory_fraction > 0 && memory_fraction <= 1)) {
    return invalid_argument("memory_fraction " + std::to_string(memory_fraction) +
                            "; expected more than 0 and at most 1");
  }
  const auto between = [](const char* name, int64_t value, int64_t low,
                          int64_t high) -> Result<void> {
    if (low <= value && value <= high) return {};
    return invalid_argument(std::string(name) + " " + std::to_string(value) + "; expected " +
                            std::to_string(low) + " to " + std::to_string(high));
  };
  TRY(between("threads", threads, 0, 1024));
  TRY(between("device", device, 0, 1023));
  TRY(between("load_threads", load_threads, 1, 256));
  TRY(between("memory_bytes_max", memory_bytes_max, 0, INT64_MAX));
  for (const auto& [name, unused] : kLevels) {
    if (log_level == name) return {};
  }
  return invalid_argument("log_level \"" + log_level +
                          "\"; expected debug, info, warning or error");
}

LogLevel WorkerConfig::level() const {
  for (const auto& [name, level] : kLevels) {
    if (log_level == name) return level;
  }
  return LogLevel::kInfo;
}

std::string WorkerConfig::host() const {
  if (!advertise.empty()) return advertise;
  const Result<HostPort> address = parse_host_port("listen", listen);
  return address.ok() ? address.value().host : "";
}

std::string WorkerConfig::to_string() const {
  std::string line;
  for (const Key& key : keys()) {
    line += (line.empty() ? "" : " ") + std::string(key.name) + "=" + key.get(*this);
  }
  return line;
}

Result<ParsedArguments> parse_worker_arguments(const std::vector<std::string>& arguments) {
  ParsedArguments parsed;
  std::vector<std::pair<std::string, std::string>> flags;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (argument == "--help" || argument == "-h") {
      parsed.help = true;
      return parsed;
    }
    if (!argument.starts_with("--")) {
      return invalid_argument("argument \"" + argument + "\"; expected --name value");
    }
    const size_t equals = argument.find('=');
    std::string name = argument.substr(2, equals == std::string::npos ? equals : equals - 2);
    if (equals == std::string::npos && i + 1 == arguments.size()) {
      return invalid_argument("--" + name + " has no value");
    }
    std::string value = equals == std::string::npos ? arguments[++i] : argument.substr(equals + 1);
    for (char& c : name) {
      if (c == '-') c = '_';
    }
    flags.emplace_back(std::move(name), std::move(value));
  }
  for (const auto& [name, value] : flags) {
    if (name == "config") TRY(read_file(parsed.config, value));
  }
  for (const auto& [name, value] : flags) {
    if (name != "config") TRY(set_key(parsed.config, name, value, "command line"));
  }
  if (parsed.config.worker_id.empty()) parsed.config.worker_id = random_id();
  TRY(parsed.config.validate());
  return parsed;
}

std::string worker_usage() {
  std::string text =
      "mimo-worker: one rank of a group; joins a coordinator and serves what it is told.\n\n"
      "  --config FILE          TOML with the names below (_ for -); flags are stronger\n";
  for (const Key& key : keys()) {
    std::string flag = "  --" + dashed(key.name) + " VALUE";
    flag.resize(std::max<size_t>(flag.size() + 1, 25), ' ');
    const std::string value = key.get(WorkerConfig{});
    text += flag + key.help + (value.empty() ? "" : " [" + value + "]") + "\n";
  }
  return text;
}

Result<HostPort> parse_host_port(const std::string& name, const std::string& text) {
  const size_t colon = text.rfind(':');
  const auto wrong = [&] {
    return invalid_argument(name + " \"" + text + "\"; expected host:port");
  };
  if (colon == std::string::npos || colon == 0) return wrong();
  HostPort address;
  address.host = text.substr(0, colon);
  if (address.host.front() == '[' && address.host.back() == ']') {
    address.host = address.host.substr(1, address.host.size() - 2);
  }
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data() + colon + 1, end, address.port);
  if (error != std::errc{} || stop != end || address.host.empty()) return wrong();
  return address;
}

std::string to_string(const HostPort& address) {
  const bool v6 = address.host.find(':') != std::string::npos;
  return (v6 ? "[" + address.host + "]" : address.host) + ":" + std::to_string(address.port);
}

}  // namespace mimo::node
