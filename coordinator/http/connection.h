#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "coordinator/http/exchange.h"

namespace mimo::http {

class Connection;

struct ConnectionLimits {
  int64_t header_bytes_max = 0;
  int64_t body_bytes_max = 0;
  double idle_timeout_s = 0;     // between requests
  double request_timeout_s = 0;  // from a request's first byte to its last
  double write_timeout_s = 0;    // without a byte taken by the client
};

// All connections of a server.
//
// Thread: the loop's.
struct ConnectionSet {
  Handler* handler = nullptr;
  ConnectionLimits limits;
  std::set<std::shared_ptr<Connection>> all;
  std::function<void(int32_t status)> answered;  // one answer
  std::function<void()> closed;                  // one connection
  bool draining = false;                         // no further requests
};

// One client: reads a request, has it answered, writes the answer, reads the next. It reads on
// while a request is being answered, so that a client that goes is noticed at once; what it sends
// ahead waits, up to 64 KiB.
//
// Thread:    the loop's.
// Lifetime:  in its set until it is closed; operations under way hold it too.
class Connection final : public Responder, public std::enable_shared_from_this<Connection> {
 public:
  using Socket = boost::asio::ip::tcp::socket;
  Connection(Socket socket, ConnectionSet& set);

  void start();
  // Past what it waits for: an answer says so where one can be, and it is closed.
  void check_time(std::chrono::steady_clock::time_point now);
  void drain();

  void respond(HttpResponse response) override;
  void begin_stream(const Headers& headers) override;
  void write(std::string_view data) override;
  void end_stream(bool whole) override;
  bool busy() const override { return writing_; }
  void cut() override { close(); }

 private:
  using Parser = boost::beast::http::request_parser<boost::beast::http::string_body>;
  using Deadline = std::chrono::steady_clock::time_point;

  void begin_request();
  void read();
  void on_read(boost::system::error_code error, size_t num_bytes);
  // Takes what has come; a whole request is handed on.
  void parse();
  void on_parse_error(boost::system::error_code error);
  void continue_if_asked();
  void dispatch();
  void append_head(int32_t status, const Headers& headers, std::string* out);
  void flush();
  void write_some();
  void on_write(boost::system::error_code error, size_t num_bytes);
  void answered();
  void next();
  void linger();
  void close();
  void deadline_in(double seconds);

  Socket socket_;
  ConnectionSet& set_;
  boost::beast::flat_buffer in_;
  std::optional<Parser> parser_;
  std::shared_ptr<Exchange> exchange_;
  std::string request_id_;
  std::string out_;  // to be written next
  std::string writing_out_;
  size_t written_ = 0;  // of writing_out_
  Deadline deadline_;
  int32_t status_ = 0;  // of the answer under way
  enum class State : uint8_t { kIdle, kReading, kAnswering, kLingering, kClosed };
  State state_ = State::kIdle;
  bool reading_ = false;  // a read is under way
  bool writing_ = false;  // a write is
  bool keep_alive_ = true;
  bool chunked_ = false;    // the stream under way
  bool head_only_ = false;  // HEAD
  bool answered_ = false;   // all of the answer is in out_ or further
  bool at_end_ = false;     // the client sends nothing more
  bool asked_to_continue_ = false;
};

}  // namespace mimo::http
