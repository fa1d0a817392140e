#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "coordinator/options.h"

namespace mimo::coordinator {

struct CommandLine {
  CoordinatorOptions options;  // valid
  std::string print_ports;     // file for the bound addresses; empty: none
  bool help = false;           // nothing else is filled in
};

// Arguments without the program's name. The file of --config is read first; flags and --set then
// change it, the later the stronger. An unknown flag or key is an error that names it.
Result<CommandLine> parse_command_line(const std::vector<std::string>& arguments);

std::string usage();

// Every key with its value, in the order of the file.
std::vector<std::pair<std::string, std::string>> effective_config(
    const CoordinatorOptions& options);

}  // namespace mimo::coordinator
