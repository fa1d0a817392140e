#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"

namespace mimo::cli {

// What `mimo serve` and `mimo verify` start.
struct ClusterOptions {
  std::string model;             // a checkpoint folder
  std::string config;            // a TOML file for the coordinator
  std::vector<std::string> set;  // key=value, over the file
  std::optional<int32_t> tp;     // unset: the config's
  std::string listen = "127.0.0.1:50051";
  std::string http_listen = "127.0.0.1:8000";
  std::string cluster_listen = "127.0.0.1:0";
  std::string metrics_listen = "127.0.0.1:9401";
  std::string worker_listen = "127.0.0.1:0";  // each worker's own
  std::string backend = "cpu";                // "cuda": worker i gets GPU i
  double memory_fraction = 0.9;               // of a GPU's memory that may be taken
  int32_t worker_threads = 0;                 // 0 = the cores, shared by the workers
  std::string log_folder;                     // empty: children write where we do
};

struct ServeOptions {
  ClusterOptions cluster;
  std::string ready_file;  // JSON with the addresses, written when the group serves
};

struct VerifyOptions {
  std::string model;
  int32_t tp = 1;
  std::string backend = "cpu";
  int32_t page_tokens = 64;
  int32_t chunk = 512;
  std::string experts;  // "", "columns", "whole"
  std::string log_folder;
  double timeout_s = 300;
  // Below 0: what the backend's roundings allow. The float backend: every logit within 2e-3, every
  // token. A GPU: tokens of the cases whose recorded margin is above 0.05, and the median row.
  double logits_tolerance = -1;
};

struct SamplingOptions {
  std::optional<float> temperature;
  std::optional<float> top_p;
  std::optional<int32_t> top_k;
  std::optional<float> min_p;
  std::optional<float> presence_penalty;
  std::optional<float> frequency_penalty;
  std::optional<float> repetition_penalty;
  std::optional<uint64_t> seed;
  std::optional<int32_t> num_sequences;
  std::optional<int32_t> max_tokens;
  std::optional<int32_t> min_tokens;
  std::vector<std::string> stop;
  std::vector<int32_t> stop_token_ids;
  bool ignore_eos = false;
};

struct GenerateOptions {
  std::string server = "127.0.0.1:50051";
  std::optional<std::string> prompt;  // unset: standard input
  std::vector<int32_t> token_ids;
  SamplingOptions sampling;
  std::optional<int32_t> logprobs;
  bool special_tokens = false;
  bool json = false;  // one event a line
  double timeout_s = 600;
};

struct ChatOptions {
  std::string server = "127.0.0.1:50051";
  std::string system;         // the system prompt; empty: the template's own
  std::optional<bool> think;  // unset: the template's default
  std::string tools;          // a file with a JSON array of functions
  SamplingOptions sampling;
  std::optional<bool> show_reasoning;  // unset: on a terminal
  std::optional<std::string> history;  // a file; empty: none; unset: .mimo_history at home
  double timeout_s = 600;
};

struct BenchOptions {
  std::string server = "127.0.0.1:50051";
  int32_t num_requests = 64;
  int32_t concurrency = 8;  // closed loop
  double rate = 0;          // > 0: open loop, requests a second, Poisson arrivals
  int32_t input_tokens = 64;
  int32_t output_tokens = 64;
  std::string prompts;  // JSONL: {"text"} or {"ids"}, with optional "max_tokens"
  uint64_t seed = 1;
  float temperature = 0;
  int32_t warmup = 2;
  bool json = false;
  double timeout_s = 600;
};

struct PlanOptions {
  std::string model = "mimo-v2-flash";  // a checkpoint folder, or the released model's name
  int32_t tp = 4;
  std::string experts;
  double device_gb = 139;         // memory of one device, 2^30 bytes
  double memory_fraction = 0.90;  // of it that may be taken
  int32_t page_tokens = 64;
  int32_t sequences_max = 256;
  int32_t batch_tokens_max = 8192;
  int32_t prefill_chunk_max = 8192;
  int32_t context = 32768;  // tokens of a typical sequence
  bool json = false;
};

struct TokenizeOptions {
  std::string tokenizer;  // tokenizer.json
  std::string jsonl;      // a file of {"text"} lines; "-" = standard input
  std::string text;
};

using Command = std::variant<ServeOptions, VerifyOptions, GenerateOptions, ChatOptions,
                             BenchOptions, PlanOptions, TokenizeOptions>;

// What the command line says; or, as an Error of code kOk, the help text that was asked for; or
// what is wrong with it.
Result<Command> parse_command_line(int argc, char** argv);

// "what.key=value" from what was typed on the line; kInvalidArgument where a field is out of
// bounds.
Result<void> validate(const BenchOptions& options);

}  // namespace mimo::cli
