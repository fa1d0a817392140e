#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"

namespace mimo::coordinator {

// Everything that a coordinator can be told. The names are the TOML file's: `api.listen` is listen
// in [api]. Strings that may be empty say what that means.
struct CoordinatorOptions {
  std::string model;        // folder of the checkpoint; must be given
  std::string served_name;  // empty: the folder's last name
  int32_t tp = 1;           // ranks of the group
  std::string experts;      // "columns", "whole"; empty: by columns where whole blocks remain
  std::string log_level = "info";

  struct Api {
    std::string listen = "127.0.0.1:50051";
    int32_t requests_max = 1024;     // live at once; more are refused
    int32_t sequences_max = 0;       // their outputs; 0 = engine.sequences_max + engine.waiting_max
    int32_t num_sequences_max = 64;  // outputs of one request
    int32_t candidates_max = 20;
    int32_t max_tokens_max = 0;  // 0 = as many as positions allow
    int64_t prompt_bytes_max = int64_t{8} << 20;
    int64_t message_bytes_max = int64_t{64} << 20;
    int64_t stream_bytes_max = int64_t{4} << 20;
    double reader_grace_s = 30.0;
    int32_t tokenizer_threads = 2;
    bool reflection = true;
    double keepalive_s = 30.0;
    double keepalive_timeout_s = 10.0;
    double ping_interval_min_s = 9.0;
    double stall_s = 8.0;
    double drain_timeout_s = 30.0;
  } api;

  // OpenAI's API, over HTTP.
  struct Http {
    std::string listen = "127.0.0.1:8000";  // empty: not served
    int32_t connections_max = 4096;         // further ones wait until one is closed
    int64_t header_bytes_max = 32768;
    int64_t body_bytes_max = int64_t{16} << 20;
    double idle_timeout_s = 75.0;     // of a connection without a request
    double request_timeout_s = 60.0;  // from a request's first byte to its last
    double write_timeout_s = 30.0;    // without a byte taken by the client
    int32_t threads = 2;              // that read large bodies
  } http;

  struct Cluster {
    std::string listen = "127.0.0.1:50052";
    double heartbeat_interval_s = 0.5;
    double heartbeat_timeout_s = 5.0;
    double form_timeout_s = 30.0;
    double load_timeout_s = 3600.0;
    bool shutdown_workers = false;  // tell them to exit when this does
  } cluster;

  struct Engine {
    int32_t page_tokens = 64;
    int64_t kv_bytes = 0;      // a rank's, for both pools; 0 = what every rank can give
    int32_t full_pages = 0;    // 0 = what kv_bytes buys
    int32_t window_pages = 0;  // 0 = what kv_bytes buys
    int32_t sequences_max = 64;
    int32_t waiting_max = 1024;
    int32_t batch_tokens_max = 2048;
    int32_t prefill_chunk_max = 512;
    int32_t positions_max = 0;  // 0 = the model's
    // "f32", "device", "invariant" (batch-invariant); "auto": "device" on GPUs, "f32" on CPUs
    std::string mode = "auto";
    double step_timeout_s = 30.0;
  } engine;

  struct Metrics {
    std::string listen = "127.0.0.1:9401";
  } metrics;

  struct Generation {
    bool use_checkpoint_defaults = false;  // generation_config.json's temperature, top_p, top_k
  } generation;

  struct Debug {
    bool logits = false;  // clients may ask for every candidate and for logits
  } debug;

  // kInvalidArgument: key, value, what was expected.
  Result<void> validate() const;
};

}  // namespace mimo::coordinator
