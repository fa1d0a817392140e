#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/http/exchange.h"
#include "coordinator/http/reply.h"
#include "coordinator/http/stream.h"

namespace mimo::http {

// A request to the engine that is ready to go, and the shape of its answer.
struct Prepared {
  std::vector<v1::GenerateRequest> requests;  // one a prompt
  std::unique_ptr<Reply> reply;
  std::vector<std::string> ignored;
  std::string id;
};

// Answers a request with what the engine says: every prompt a session, all of them one reply.
// Nothing is sent before the engine has drawn something or has failed, so that a refusal has its
// status. Of what the engine says no more is taken than the connection takes: what waits stays in
// the session's outbox, which has its bound.
//
// Thread:    the loop's.
// Lifetime:  the connection's and, while it is prepared, its preparer's.
class Generation final : public Exchange,
                         public Stream::Reader,
                         public std::enable_shared_from_this<Generation> {
 public:
  Generation(Loop& loop, coordinator::Sessions& sessions, Responder& responder,
             std::string request_id)
      : loop_(loop),
        sessions_(sessions),
        responder_(&responder),
        request_id_(std::move(request_id)) {}
  ~Generation() override;

  // Either of these, once, unless the client has gone meanwhile.
  void start(Prepared prepared);
  void refuse(const ApiError& error);

  void gone() override;
  void writable() override;
  void ready(Stream& stream) override;
  void given_up() override;

 private:
  // Appends what the messages become; or why the answer ends here.
  std::optional<ApiError> take(int32_t prompt_idx, std::vector<v1::GenerateResponse> messages);
  void fail(const ApiError& error);
  void finish();
  void send(const std::string& data);
  void end_streams();
  Headers headers() const;

  Loop& loop_;
  coordinator::Sessions& sessions_;
  Responder* responder_;  // nullptr when the answer is given or nobody waits for it
  const std::string request_id_;
  Prepared prepared_;
  std::vector<std::shared_ptr<Stream>> streams_;
  std::vector<bool> waits_;  // a stream has more than the connection took
  size_t next_ = 0;          // of streams_, when the connection takes more
  size_t num_open_ = 0;
  bool begun_ = false;  // the stream's head is sent
  std::string out_;
};

}  // namespace mimo::http
