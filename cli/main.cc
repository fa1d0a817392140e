#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <variant>

#include "base/log.h"
#include "cli/commands.h"

namespace mimo::cli {

namespace {

// no-color.org: any value that is not empty says no.
ChatEnvironment chat_environment() {
  const auto value = [](const char* name) {
    const char* given = std::getenv(name);
    return std::string(given == nullptr ? "" : given);
  };
  const std::string terminal = value("TERM");
  return {value("NO_COLOR").empty() && !terminal.empty() && terminal != "dumb", value("HOME")};
}

struct Run {
  int operator()(const ServeOptions& o) const { return run_serve(o); }
  int operator()(const VerifyOptions& o) const { return run_verify(o); }
  int operator()(const GenerateOptions& o) const { return run_generate(o); }
  int operator()(const ChatOptions& o) const { return run_chat(o, chat_environment()); }
  int operator()(const BenchOptions& o) const { return run_bench(o); }
  int operator()(const PlanOptions& o) const { return run_plan(o); }
  int operator()(const TokenizeOptions& o) const { return run_tokenize(o); }
};

int run(int argc, char** argv) {
  const auto command = parse_command_line(argc, argv);
  if (!command.ok()) {
    if (command.error().code == Code::kOk) {
      std::fputs(command.error().message.c_str(), stdout);
      return 0;
    }
    std::fprintf(stderr, "mimo: %s\nTry 'mimo --help' or 'mimo COMMAND --help'.\n",
                 command.error().message.c_str());
    return 2;
  }
  const int status = std::visit(Run{}, command.value());
  // An answer that nobody got, as on a full disk, is no success.
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return status;
  return status != 0 ? status : fail(Error{Code::kDataLoss, "standard output: not all written"});
}

}  // namespace
}  // namespace mimo::cli

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  mimo::log_configure("mimo", mimo::LogLevel::kInfo);
  return mimo::cli::run(argc, argv);
}
