#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "cli/options.h"
#include "mimo/v1/inference.grpc.pb.h"

namespace mimo::cli {

// A server's public API, called and waited for.
//
// Thread: any; calls of several threads run at once over one connection.
class Client {
 public:
  // Connects in the background; the first call waits for the connection until its own deadline.
  explicit Client(const std::string& server);

  // Every response of one Generate stream in order. An error when the stream does not end with OK.
  // When `on_response` answers false, the stream is cancelled and kCancelled comes back.
  Result<void> generate(const v1::GenerateRequest& request, double timeout_s,
                        const std::function<bool(const v1::GenerateResponse&)>& on_response);
  Result<v1::ModelInfo> model_info(double timeout_s);
  Result<v1::ServerInfo> server_info(double timeout_s);
  Result<v1::LoadInfo> load(double timeout_s);

 private:
  std::unique_ptr<v1::Inference::Stub> stub_;
};

// Fields that were not given stay unset: the server's defaults hold.
v1::GenerateRequest make_request(const SamplingOptions& options);

}  // namespace mimo::cli
