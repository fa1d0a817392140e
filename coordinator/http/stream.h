#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "coordinator/http/loop.h"
#include "coordinator/sessions/live_session.h"
#include "coordinator/sessions/sessions.h"

namespace mimo::http {

// One session's way from the engine's threads to the loop: a session that has something for its
// client wakes the loop once, and the loop takes all that is there by then.
//
// Thread:    the loop's, but for what StreamWriter's callers call.
// Lifetime:  shared by who answers the request and, while it is on its way there, by the loop.
class Stream final : public coordinator::StreamWriter,
                     public Wakeable,
                     public std::enable_shared_from_this<Stream> {
 public:
  // Who takes the messages.
  class Reader {
   public:
    virtual ~Reader() = default;
    virtual void ready(Stream& stream) = 0;
    // The stream is given up: its client reads nothing.
    virtual void given_up() = 0;
  };

  Stream(Loop& loop, coordinator::Sessions& sessions, Reader& reader, int32_t prompt_idx);

  void open(const v1::GenerateRequest& request);
  struct Batch {
    std::vector<v1::GenerateResponse> messages;
    bool more = false;    // the next take() finds some without being woken for them
    bool closed = false;  // nothing comes behind `messages`
    std::optional<coordinator::RequestError> error;
  };
  // What is there, up to about `bytes_max` of tokens.
  Batch take(int64_t bytes_max);
  // The session is ended, if it runs, and its place is free; the reader is not called any more.
  void end();
  bool ended() const { return reader_ == nullptr; }
  int32_t prompt_idx() const { return prompt_idx_; }

  bool prepare() override;
  void write() override;
  void cut() override;
  void woken() override;

 private:
  Loop& loop_;
  coordinator::Sessions& sessions_;
  Reader* reader_;  // nullptr when ended
  const int32_t prompt_idx_;
  const std::shared_ptr<coordinator::LiveSession> live_;
  // The session's mutex guards these.
  bool signalled_ = false;  // the loop knows that there is something
  bool cut_ = false;
  std::shared_ptr<Stream> self_;  // from prepare() to write()
};

}  // namespace mimo::http
