#pragma once

#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace mimo {

enum class LogLevel { kDebug = 0, kInfo = 1, kWarning = 2, kError = 3 };

// One `key=value`; a value with spaces or quotes is quoted when printed.
struct LogField {
  LogField(std::string_view k, std::string_view v) : key(k), value(v) {}
  LogField(std::string_view k, const char* v) : key(k), value(v) {}
  LogField(std::string_view k, const std::string& v) : key(k), value(v) {}
  LogField(std::string_view k, bool v) : key(k), value(v ? "true" : "false") {}
  template <typename N>
  requires std::is_arithmetic_v<N> LogField(std::string_view k, N v)
      : key(k), value(std::to_string(v)) {}

  std::string key;
  std::string value;
};

// Lines below `level` are dropped. `process` ("coordinator", "worker") opens each line.
void log_configure(std::string process, LogLevel level);

// One line an event on stderr: time, level, process, event, key=value ... Written with one
// write(2).
//
// Thread: any.
void log_line(LogLevel level, std::string_view event, std::initializer_list<LogField> fields = {});

// The same for fields that were gathered before.
void log_fields(LogLevel level, std::string_view event, std::span<const LogField> fields);

inline void log_debug(std::string_view event, std::initializer_list<LogField> fields = {}) {
  log_line(LogLevel::kDebug, event, fields);
}
inline void log_info(std::string_view event, std::initializer_list<LogField> fields = {}) {
  log_line(LogLevel::kInfo, event, fields);
}
inline void log_warning(std::string_view event, std::initializer_list<LogField> fields = {}) {
  log_line(LogLevel::kWarning, event, fields);
}
inline void log_error(std::string_view event, std::initializer_list<LogField> fields = {}) {
  log_line(LogLevel::kError, event, fields);
}

}  // namespace mimo
