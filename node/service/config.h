#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/result.h"

namespace mimo::node {

// What a worker is told when it starts: flags, or a TOML file with the same names (`worker_id` for
// --worker-id). A flag is stronger than the file. A key that is not known is an error.
struct WorkerConfig {
  std::string coordinator;             // host:port; must be given
  std::string listen = "127.0.0.1:0";  // Leader service, plan channel and group: host is a number
  std::string advertise;               // the host that others dial; empty: that of `listen`
  std::string metrics = "127.0.0.1:0";
  std::string worker_id;         // empty: a random one, for the life of the process
  std::string backend = "cpu";   // "cpu", "cuda"
  int32_t device = 0;            // ordinal; cuda only
  double memory_fraction = 0.9;  // of the device that may be taken when the budget is left to us
  int32_t threads = 0;           // of the backend; 0 = as many as there are cores
  int32_t load_threads = 2;      // that read and cut weights
  int64_t memory_bytes_max = 0;  // of the backend; 0 = no bound of its own
  std::string log_level = "info";

  Result<void> validate() const;
  LogLevel level() const;
  // The address that others dial: `advertise`, or else the host of `listen`.
  std::string host() const;
  // One line, `key=value` with blanks between.
  std::string to_string() const;
};

struct ParsedArguments {
  WorkerConfig config;
  bool help = false;
};

// Of the arguments after the program's name.
Result<ParsedArguments> parse_worker_arguments(const std::vector<std::string>& arguments);
std::string worker_usage();

// "host:port", "[v6]:port".
struct HostPort {
  std::string host;
  uint16_t port = 0;
};
Result<HostPort> parse_host_port(const std::string& name, const std::string& text);
std::string to_string(const HostPort& address);

}  // namespace mimo::node
