#include "base/log.h"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <mutex>

namespace mimo {
namespace {

std::atomic<LogLevel> g_level{LogLevel::kInfo};
std::mutex g_process_mutex;  // guards a name that is set once at start
std::string g_process = "mimo";

const char* level_name(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return "DEBUG";
    case LogLevel::kInfo:
      return "INFO";
    case LogLevel::kWarning:
      return "WARN";
    case LogLevel::kError:
      return "ERROR";
  }
  return "?";
}

std::string timestamp() {
  const auto now = std::chrono::system_clock::now();
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch());
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  char text[40];
  const size_t length = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
  std::snprintf(text + length, sizeof text - length, ".%03dZ", static_cast<int>(ms.count() % 1000));
  return text;
}

void append_value(std::string& line, const std::string& value) {
  const bool plain = !value.empty() && value.find_first_of(" \t\r\n\"=") == std::string::npos;
  if (plain) {
    line += value;
    return;
  }
  line += '"';
  for (const char c : value) {
    if (c == '\n') {
      line += "\\n";
      continue;
    }
    if (c == '"' || c == '\\') line += '\\';
    line += c;
  }
  line += '"';
}

}  // namespace

void log_configure(std::string process, LogLevel level) {
  std::lock_guard lock(g_process_mutex);
  g_process = std::move(process);
  g_level = level;
}

void log_line(LogLevel level, std::string_view event, std::initializer_list<LogField> fields) {
  log_fields(level, event, {fields.begin(), fields.size()});
}

void log_fields(LogLevel level, std::string_view event, std::span<const LogField> fields) {
  if (level < g_level.load(std::memory_order_relaxed)) return;
  std::string line = timestamp() + " " + level_name(level) + " ";
  {
    std::lock_guard lock(g_process_mutex);
    line += g_process;
  }
  line += " event=";
  append_value(line, std::string(event));
  for (const LogField& field : fields) {
    line += " " + field.key + "=";
    append_value(line, field.value);
  }
  line += '\n';
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace mimo
