#pragma once

#include "cli/options.h"

namespace mimo::cli {

// What a chat takes from the process's environment.
struct ChatEnvironment {
  bool colour = true;  // the terminal shows colours, and its user wants them
  std::string home;    // a folder; empty: unknown
};

// Each runs one subcommand to its end and answers the process's exit status; what went wrong is
// said on standard error.
int run_serve(const ServeOptions& options);
int run_verify(const VerifyOptions& options);
int run_generate(const GenerateOptions& options);
int run_chat(const ChatOptions& options, const ChatEnvironment& environment);
int run_bench(const BenchOptions& options);
int run_plan(const PlanOptions& options);
int run_tokenize(const TokenizeOptions& options);

// "mimo: message" on standard error; answers 1.
int fail(const Error& error);

}  // namespace mimo::cli
