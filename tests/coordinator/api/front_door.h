#pragma once

#include <grpcpp/grpcpp.h>
#include <prometheus/registry.h>

#include <chrono>
#include <memory>
#include <string>

#include "base/clock.h"
#include "coordinator/api/api_server.h"
#include "coordinator/chat/prompter.h"
#include "coordinator/sessions/sessions.h"
#include "mimo/v1/inference.grpc.pb.h"
#include "tests/coordinator/api/small_engine.h"
#include "tests/coordinator/sessions/stream_record.h"

namespace mimo::coordinator {

// The whole front door over a SmallEngine, on a port of loopback.
struct FrontDoor {
  struct Options {
    SmallEngine::Options engine;
    Admission::Options admission;
    Sessions::Options sessions;
    ApiServer::Options api;
    bool with_tokenizer = true;
    std::string tokenizer_json;   // a file; empty: the byte tokenizer
    std::string chat_template;    // empty: conversations are refused,
    std::string template_folder;  // unless this checkpoint's folder has one
    bool connected = true;
  };

  static Options options() {
    Options options;
    options.sessions.limits = small_limits();
    options.api.health_interval_s = 0.01;
    return options;
  }
  // Conversations' prompts are their contents, one behind the other, so that they say what the
  // reply will be.
  static Options with_chat();
  static Options by_hand() {
    Options by_hand = options();
    by_hand.engine.by_hand = true;
    return by_hand;
  }

  explicit FrontDoor(const Options& wanted = options());
  // Refuses, ends what runs, and closes.
  ~FrontDoor();

  std::unique_ptr<v1::Inference::Stub> stub(int32_t read_window_bytes = 0) const;

  SystemClock clock;
  std::shared_ptr<prometheus::Registry> registry = std::make_shared<prometheus::Registry>();
  std::unique_ptr<text::Tokenizer> tokenizer;
  std::unique_ptr<chat::Prompter> prompter;  // nullptr without a template
  SmallEngine engine;
  Admission admission;
  RequestProbe probe;
  Sessions sessions;
  ServerFacts facts;
  std::unique_ptr<ApiServer> server;
};

// One stream of a client that reads by itself.
class Call {
 public:
  Call(v1::Inference::Stub& stub, const v1::GenerateRequest& request,
       std::chrono::milliseconds deadline = std::chrono::seconds(20));

  // The next message; false at the end.
  bool read();
  // Everything, and the status.
  const grpc::Status& finish();
  void cancel() { context_.TryCancel(); }

  StreamRecord record;
  v1::GenerateResponse message;
  const grpc::ClientContext& context() const { return context_; }
  std::string trailer(const std::string& name) const;
  // google.rpc.RetryInfo's delay in the status; -1 without one.
  double retry_after_s() const;
  // The ErrorEvent in the status.
  v1::ErrorEvent status_event() const;

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>> reader_;
  grpc::Status status_;
  bool finished_ = false;
};

v1::GenerateRequest text_request(const std::string& text, int32_t max_tokens);

}  // namespace mimo::coordinator
