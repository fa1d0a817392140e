#include <csignal>
#include <cstdio>
#include <variant>

#include "base/log.h"
#include "cli/commands.h"

namespace mimo::cli {

int fail(const Error& error) {
  std::fprintf(stderr, "mimo: %s\n", error.message.c_str());
  return 1;
}

namespace {

struct Run {
  int operator()(const ServeOptions& o) const { return run_serve(o); }
  int operator()(const VerifyOptions& o) const { return run_verify(o); }
  int operator()(const GenerateOptions& o) const { return run_generate(o); }
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
  return std::visit(Run{}, command.value());
}

}  // namespace
}  // namespace mimo::cli

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  mimo::log_configure("mimo", mimo::LogLevel::kInfo);
  return mimo::cli::run(argc, argv);
}
