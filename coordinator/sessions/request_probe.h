#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "mimo/v1/inference.pb.h"

namespace prometheus {
class Registry;
}

namespace mimo::coordinator {

// What requests tell the world of themselves; alone knows the metrics' names.
//
// Thread:    any.
// Lifetime:  the registry outlives it.
class RequestProbe final {
 public:
  // positions_max: where the histograms of token counts end.
  RequestProbe(prometheus::Registry& registry, const std::string& model, int32_t positions_max);
  ~RequestProbe();
  RequestProbe(const RequestProbe&) = delete;
  RequestProbe& operator=(const RequestProbe&) = delete;

  void refused(v1::ErrorCode code);
  void prompt_read(int32_t num_tokens);
  void tokens_drawn(int64_t num_tokens);
  void first_token(double seconds_since_open);
  void next_token(double seconds_since_last);
  // One output. `finished_reason`: "stop", "length", "abort", "error".
  void output_finished(const char* finished_reason, int32_t num_tokens, double seconds_per_token);
  // One request.
  void request_finished(double seconds, int32_t num_prompt_tokens);

 private:
  struct Metrics;
  std::unique_ptr<Metrics> metrics_;
};

}  // namespace mimo::coordinator
