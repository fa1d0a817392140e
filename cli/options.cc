#include "cli/options.h"

#include <CLI/CLI.hpp>

namespace mimo::cli {
namespace {

// Up to three years: clocks count in 64 bits of nanoseconds.
CLI::Range timeout_range() { return CLI::Range(0.001, 1e8); }

void add_sampling(CLI::App& app, SamplingOptions& o) {
  app.add_option("--temperature", o.temperature, "0 = greedy");
  app.add_option("--top-p", o.top_p, "nucleus, (0, 1]");
  app.add_option("--top-k", o.top_k, "0 = all");
  app.add_option("--min-p", o.min_p, "[0, 1]");
  app.add_option("--presence-penalty", o.presence_penalty, "[-2, 2]");
  app.add_option("--frequency-penalty", o.frequency_penalty, "[-2, 2]");
  app.add_option("--repetition-penalty", o.repetition_penalty, "(0, 10]");
  app.add_option("--seed", o.seed, "the same seed draws the same tokens");
  app.add_option("--max-tokens", o.max_tokens, "tokens of an output at most");
  app.add_option("--min-tokens", o.min_tokens, "no stop before so many");
  app.add_option("--stop", o.stop, "text that ends an output; may be given again");
  app.add_option("--stop-token-id", o.stop_token_ids, "id that ends an output; may be given again");
  app.add_flag("--ignore-eos", o.ignore_eos, "the model's own ends do not stop");
}

void add_serve(CLI::App& app, ServeOptions& o) {
  ClusterOptions& c = o.cluster;
  app.add_option("--model", c.model, "checkpoint folder (else the config's)");
  app.add_option("--config", c.config, "TOML file for the coordinator");
  app.add_option("--set", c.set, "key=value over the file; may be given again");
  app.add_option("--tp,--workers", c.tp, "tensor-parallel workers (default: the config's, or 2)")
      ->check(CLI::Range(1, 16));
  app.add_option("--backend", c.backend, "cpu, or cuda: worker i gets GPU i")
      ->check(CLI::IsMember({"cpu", "cuda"}))
      ->capture_default_str();
  app.add_option("--memory-fraction", c.memory_fraction, "of a GPU's memory that may be taken")
      ->check(CLI::Range(0.01, 1.0))
      ->capture_default_str();
  app.add_option("--listen", c.listen, "public gRPC, host:port")->capture_default_str();
  app.add_option("--http-listen", c.http_listen, "OpenAI's API, host:port; empty: none")
      ->capture_default_str();
  app.add_option("--cluster-listen", c.cluster_listen, "where workers join")->capture_default_str();
  app.add_option("--metrics-listen", c.metrics_listen, "the coordinator's /metrics")
      ->capture_default_str();
  app.add_option("--worker-threads", c.worker_threads, "threads a worker; 0 = share the cores");
  app.add_option("--log-folder", c.log_folder, "one log file a process, instead of here");
  app.add_option("--ready-file", o.ready_file, "JSON with the addresses, written when it serves");
}

void add_verify(CLI::App& app, VerifyOptions& o) {
  app.add_option("--model", o.model, "checkpoint with expected.json")->required();
  app.add_option("--tp", o.tp, "tensor-parallel workers")->check(CLI::Range(1, 16));
  app.add_option("--backend", o.backend, "cpu, or cuda: worker i gets GPU i")
      ->check(CLI::IsMember({"cpu", "cuda"}))
      ->capture_default_str();
  app.add_option("--page-tokens", o.page_tokens, "16, 32, 64 or 128")
      ->check(CLI::IsMember({16, 32, 64, 128}));
  app.add_option("--chunk", o.chunk, "prompt tokens a step at most")->check(CLI::Range(1, 1 << 20));
  app.add_option("--experts", o.experts, "columns or whole (default: what fits)")
      ->check(CLI::IsMember({"columns", "whole"}));
  app.add_option("--log-folder", o.log_folder, "keep the processes' logs here");
  app.add_option("--timeout", o.timeout_s, "seconds for the start, and for each case")
      ->check(timeout_range())
      ->capture_default_str();
  app.add_option(
      "--logits-tolerance", o.logits_tolerance,
      "largest absolute error that passes (default: 0.002 on the CPU; on a GPU the median "
      "row's relative error is judged instead)");
}

void add_generate(CLI::App& app, GenerateOptions& o) {
  app.add_option("--server", o.server, "host:port")->capture_default_str();
  app.add_option("-p,--prompt", o.prompt, "text, as it is (default: standard input)");
  app.add_option("--token-ids", o.token_ids, "ids instead of text")->delimiter(',');
  add_sampling(app, o.sampling);
  app.add_option("-n,--num-sequences", o.sampling.num_sequences, "outputs of the prompt");
  app.add_option("--logprobs", o.logprobs, "also the n best tokens' log-probabilities");
  app.add_flag("--special-tokens", o.special_tokens, "print special tokens too");
  app.add_flag("--json", o.json, "one JSON event a line");
  app.add_option("--timeout", o.timeout_s, "seconds")
      ->check(timeout_range())
      ->capture_default_str();
}

void add_chat(CLI::App& app, ChatOptions& o) {
  const std::map<std::string, bool> on_off = {{"on", true}, {"off", false}};
  app.add_option("--server", o.server, "host:port")->capture_default_str();
  app.add_option("--system", o.system, "system prompt (default: the template's own)");
  app.add_option("--think", o.think, "on or off: think before the answer (default: the template's)")
      ->transform(CLI::CheckedTransformer(on_off));
  app.add_option("--tools", o.tools, "JSON array of functions that the model may call")
      ->check(CLI::ExistingFile);
  add_sampling(app, o.sampling);
  app.add_option("--show-reasoning", o.show_reasoning, "on or off (default: on a terminal)")
      ->transform(CLI::CheckedTransformer(on_off));
  app.add_option("--history", o.history,
                 "file of past lines; '' = none (default: ~/.mimo_history)");
  app.add_option("--timeout", o.timeout_s, "seconds an answer")
      ->check(timeout_range())
      ->capture_default_str();
}

void add_bench(CLI::App& app, BenchOptions& o) {
  app.add_option("--server", o.server, "host:port")->capture_default_str();
  app.add_option("-n,--requests", o.num_requests, "requests to send")->capture_default_str();
  app.add_option("-c,--concurrency", o.concurrency, "closed loop: so many at once")
      ->capture_default_str();
  app.add_option("--rate", o.rate, "open loop: requests a second, Poisson arrivals; 0 = closed");
  app.add_option("--input-tokens", o.input_tokens, "exact prompt length")->capture_default_str();
  app.add_option("--output-tokens", o.output_tokens, "exact output length")->capture_default_str();
  app.add_option("--prompts", o.prompts, "JSONL of {\"text\"} or {\"ids\"} instead of random ids")
      ->check(CLI::ExistingFile);
  app.add_option("--seed", o.seed, "of prompts and arrivals")->capture_default_str();
  app.add_option("--temperature", o.temperature, "0 = greedy")->capture_default_str();
  app.add_option("--warmup", o.warmup, "requests before the clock starts")->capture_default_str();
  app.add_flag("--json", o.json, "the report as one JSON line");
  app.add_option("--timeout", o.timeout_s, "seconds a request")
      ->check(timeout_range())
      ->capture_default_str();
}

void add_plan(CLI::App& app, PlanOptions& o) {
  app.add_option("--model", o.model, "checkpoint folder, or mimo-v2-flash")->capture_default_str();
  app.add_option("--tp", o.tp, "ranks")->check(CLI::Range(1, 16))->capture_default_str();
  app.add_option("--experts", o.experts, "columns or whole (default: what fits)")
      ->check(CLI::IsMember({"columns", "whole"}));
  app.add_option("--device-gb", o.device_gb, "memory of one device, GiB")
      ->check(CLI::Range(0.001, 1e6))
      ->capture_default_str();
  app.add_option("--memory-fraction", o.memory_fraction, "of it that may be taken")
      ->check(CLI::Range(0.01, 1.0))
      ->capture_default_str();
  app.add_option("--page-tokens", o.page_tokens, "tokens a page")
      ->check(CLI::IsMember({16, 32, 64, 128}))
      ->capture_default_str();
  app.add_option("--sequences", o.sequences_max, "running at once")->capture_default_str();
  app.add_option("--batch-tokens", o.batch_tokens_max, "rows of a step")->capture_default_str();
  app.add_option("--chunk", o.prefill_chunk_max, "prompt tokens a step")->capture_default_str();
  app.add_option("--context", o.context, "tokens of the sequences to be counted")
      ->check(CLI::Range(1, 1 << 28))
      ->capture_default_str();
  app.add_flag("--json", o.json, "as one JSON object");
}

void add_tokenize(CLI::App& app, TokenizeOptions& o) {
  app.add_option("--tokenizer", o.tokenizer, "tokenizer.json")->required();
  auto* jsonl = app.add_option("--jsonl", o.jsonl, "lines of {\"text\"}; - = standard input");
  app.add_option("--text", o.text, "one text")->excludes(jsonl);
}

}  // namespace

Result<void> validate(const BenchOptions& o) {
  const auto at_least = [](const char* name, int64_t value, int64_t bound) -> Result<void> {
    if (value >= bound) return {};
    return invalid_argument(std::string(name) + " = " + std::to_string(value) +
                            ": expected at least " + std::to_string(bound));
  };
  TRY(at_least("--requests", o.num_requests, 1));
  TRY(at_least("--concurrency", o.concurrency, 1));
  TRY(at_least("--input-tokens", o.input_tokens, 1));
  TRY(at_least("--output-tokens", o.output_tokens, 1));
  TRY(at_least("--warmup", o.warmup, 0));
  if (!(o.rate >= 0)) return invalid_argument("--rate: expected 0 or more requests a second");
  return {};
}

Result<Command> parse_command_line(int argc, char** argv) {
  CLI::App app("Serve, ask, measure and plan MiMo-V2-Flash.", "mimo");
  app.require_subcommand(1);
  app.set_version_flag("--version", MIMO_VERSION);
  ServeOptions serve;
  VerifyOptions verify;
  GenerateOptions generate;
  ChatOptions chat;
  BenchOptions bench;
  PlanOptions plan;
  TokenizeOptions tokenize;
  add_serve(*app.add_subcommand("serve", "Start a coordinator and its workers here."), serve);
  add_generate(*app.add_subcommand("generate", "Continue a prompt."), generate);
  add_chat(*app.add_subcommand("chat", "Talk to the model."), chat);
  add_bench(*app.add_subcommand("bench", "Load a server and report latencies."), bench);
  add_plan(*app.add_subcommand("plan", "Shards, bytes and what fits, without loading."), plan);
  add_verify(*app.add_subcommand("verify", "Run a checkpoint's recorded cases."), verify);
  add_tokenize(*app.add_subcommand("tokenize", "Text to ids and back."), tokenize);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) {
      std::ostringstream text, unused;
      app.exit(e, text, unused);
      return Error{Code::kOk, text.str()};
    }
    return invalid_argument(e.what());
  }
  const std::string name = app.get_subcommands().front()->get_name();
  if (name == "serve") return Command(serve);
  if (name == "verify") return Command(verify);
  if (name == "generate") return Command(generate);
  if (name == "chat") return Command(chat);
  if (name == "plan") return Command(plan);
  if (name == "tokenize") return Command(tokenize);
  TRY(validate(bench));
  return Command(bench);
}

}  // namespace mimo::cli
