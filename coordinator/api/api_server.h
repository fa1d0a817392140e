#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "coordinator/api/chat_doors.h"
#include "coordinator/api/readiness.h"
#include "coordinator/api/server_facts.h"
#include "coordinator/sessions/admission.h"
#include "coordinator/sessions/sessions.h"

namespace mimo::coordinator {

// The public door: mimo.v1.Inference, mimo.v1.Chat, grpc.health.v1 ("" and both names) and
// reflection on one port.
//
// Thread:    any; one of its own keeps health up to date and cuts streams that nobody reads, and a
//            few read what is large.
// Lifetime:  sessions, admission and clock outlive it. The destructor stops it.
class ApiServer final {
 public:
  struct Options {
    std::string listen = "127.0.0.1:0";
    int64_t message_bytes_max = int64_t{64} << 20;  // of one message, in and out
    bool reflection = true;
    double keepalive_s = 30.0;          // a silent client is asked whether it lives,
    double keepalive_timeout_s = 10.0;  // and has so long to answer
    double ping_interval_min_s = 9.0;   // clients may ask as often, also without a call
    double stall_s = 8.0;               // work and no finished step for so long: NOT_SERVING
    double health_interval_s = 0.1;
    int32_t reader_threads = 2;  // that render and encode conversations and texts
  };

  // kUnavailable naming the address when it cannot be listened at.
  static Result<std::unique_ptr<ApiServer>> create(const Options& options, ServerFacts facts,
                                                   Sessions& sessions, Admission& admission,
                                                   const Clock& clock, ChatDoors chat = {});
  ~ApiServer();
  ApiServer(const ApiServer&) = delete;
  ApiServer& operator=(const ApiServer&) = delete;

  // host:port with the port that was bound.
  const std::string& address() const { return address_; }

  // As of now. Thread: any.
  Readiness readiness();
  // Health says NOT_SERVING at once; for good.
  void set_not_serving();
  // Ends what still runs after `timeout_s` with CANCELLED, and returns when all calls are over.
  // Safe to call twice.
  void stop(double timeout_s);

 private:
  struct Running;
  explicit ApiServer(std::unique_ptr<Running> running, std::string address);

  std::unique_ptr<Running> running_;
  std::string address_;
};

}  // namespace mimo::coordinator
