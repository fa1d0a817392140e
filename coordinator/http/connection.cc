#include "coordinator/http/connection.h"

#include <algorithm>
#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/field.hpp>
#include <boost/beast/http/rfc7230.hpp>
#include <boost/beast/http/verb.hpp>
#include <charconv>
#include <cstdio>
#include <ctime>
#include <optional>
#include <utility>

namespace mimo::http {

namespace asio = boost::asio;
namespace beast = boost::beast;
using boost::system::error_code;

namespace {

constexpr size_t kReadBytes = 16384;
constexpr size_t kAheadBytesMax = 65536;  // of what a client sends before it is answered
constexpr double kLingerS = 2.0;

std::string http_date() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  std::array<char, 40> text;
  return {text.data(), std::strftime(text.data(), text.size(), "%a, %d %b %Y %H:%M:%S GMT", &utc)};
}

// "a%2Fb" as "a/b"; nothing where an escape is none.
std::optional<std::string> without_escapes(std::string_view text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      plain += text[i];
      continue;
    }
    uint8_t byte = 0;
    const char* from = text.data() + i + 1;
    if (i + 3 > text.size() || std::from_chars(from, from + 2, byte, 16).ptr != from + 2)
      return std::nullopt;
    plain += static_cast<char>(byte);
    i += 2;
  }
  return plain;
}

ApiError parse_refusal(error_code error, const ConnectionLimits& limits) {
  using Http = beast::http::error;
  ApiError refused = bad_request("", "the request is no HTTP/1.1: " + error.message());
  if (error == Http::body_limit) {
    refused.status = 413;
    refused.message =
        "the body is too large: at most " + std::to_string(limits.body_bytes_max) + " bytes";
    refused.code = "body_too_large";
  } else if (error == Http::header_limit) {
    refused.status = 431;
    refused.message =
        "the header is too large: at most " + std::to_string(limits.header_bytes_max) + " bytes";
  } else if (error == Http::bad_version) {
    refused.status = 505;
  }
  return refused;
}

}  // namespace

Connection::Connection(Socket socket, ConnectionSet& set) : socket_(std::move(socket)), set_(set) {}

void Connection::start() {
  error_code ignored;
  socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
  begin_request();
  read();
}

void Connection::begin_request() {
  state_ = State::kIdle;
  parser_.emplace();
  parser_->eager(true);
  parser_->header_limit(static_cast<uint32_t>(set_.limits.header_bytes_max));
  parser_->body_limit(static_cast<uint64_t>(set_.limits.body_bytes_max));
  asked_to_continue_ = false;
  answered_ = false;
  head_only_ = false;
  request_id_.clear();
  deadline_in(set_.limits.idle_timeout_s);
}

void Connection::deadline_in(double seconds) {
  deadline_ = std::chrono::steady_clock::now() +
              std::chrono::duration_cast<std::chrono::steady_clock::duration>(
                  std::chrono::duration<double>(seconds));
}

void Connection::check_time(std::chrono::steady_clock::time_point now) {
  // How long an answer takes is the engine's business, as long as the client takes what is written.
  const bool waits = state_ != State::kAnswering || writing_;
  if (!waits || now < deadline_) return;
  if (state_ != State::kReading) return close();
  ApiError late = bad_request("", "the request took too long to arrive");
  late.status = 408;
  keep_alive_ = false;
  respond(error_response(late));
}

void Connection::drain() {
  keep_alive_ = false;
  if (state_ == State::kIdle) close();
}

// --- Reading -----------------------------------------------------------------------------------

void Connection::read() {
  if (reading_ || state_ == State::kClosed) return;
  if (state_ == State::kAnswering && in_.size() >= kAheadBytesMax) return;
  reading_ = true;
  socket_.async_read_some(in_.prepare(kReadBytes),
                          [self = shared_from_this()](error_code error, size_t num_bytes) {
                            self->on_read(error, num_bytes);
                          });
}

void Connection::on_read(error_code error, size_t num_bytes) {
  reading_ = false;
  if (state_ == State::kClosed) return;
  if (error == asio::error::eof && answered_ && state_ == State::kAnswering) {
    // It asked, said that this was all, and waits for the answer's rest.
    at_end_ = true;
    keep_alive_ = false;
    return;
  }
  if (error) return close();
  in_.commit(num_bytes);
  if (state_ == State::kLingering) in_.consume(in_.size());
  if (state_ == State::kIdle || state_ == State::kReading) parse();
  read();
}

void Connection::parse() {
  while (state_ != State::kAnswering && state_ != State::kClosed && in_.size() > 0) {
    if (state_ == State::kIdle) {
      state_ = State::kReading;
      deadline_in(set_.limits.request_timeout_s);
    }
    error_code error;
    const size_t num_taken = parser_->put(in_.data(), error);
    in_.consume(num_taken);
    if (parser_->is_done()) return dispatch();
    if (error == beast::http::error::need_more) {
      error = {};
      // A chunk's extensions and the trailers wait here until they are whole.
      if (num_taken == 0 && static_cast<int64_t>(in_.size()) > set_.limits.header_bytes_max)
        error = beast::http::error::header_limit;
      if (num_taken == 0 && !error) return continue_if_asked();
    }
    if (error) return on_parse_error(error);
    if (num_taken == 0) return;
  }
  if (state_ == State::kReading) continue_if_asked();
}

void Connection::continue_if_asked() {
  if (asked_to_continue_ || !parser_->is_header_done()) return;
  asked_to_continue_ = true;
  if (!beast::iequals(parser_->get()[beast::http::field::expect], "100-continue")) return;
  out_ += "HTTP/1.1 100 Continue\r\n\r\n";
  flush();
}

void Connection::on_parse_error(error_code error) {
  // What follows cannot be told from the rest of this request.
  keep_alive_ = false;
  respond(error_response(parse_refusal(error, set_.limits)));
}

void Connection::dispatch() {
  auto& message = parser_->get();
  HttpRequest request;
  request.method = std::string(message.method_string());
  const std::string target(message.target());
  const size_t question = target.find('?');
  auto path = without_escapes(target.substr(0, question));
  if (question != std::string::npos) request.query = target.substr(question + 1);
  request.content_type = std::string(message[beast::http::field::content_type]);
  request.by_page = message.find(beast::http::field::origin) != message.end() ||
                    beast::iequals(message["Sec-Fetch-Site"], "cross-site");
  const auto id = message["X-Request-Id"];
  request.request_id = fit_request_id({id.data(), id.size()});
  request.body = std::move(message.body());
  request_id_ = request.request_id;
  chunked_ = message.version() >= 11;
  keep_alive_ = message.keep_alive() && chunked_ && !set_.draining;
  head_only_ = message.method() == beast::http::verb::head;
  state_ = State::kAnswering;
  parser_.reset();
  if (!path) {
    const std::string shown = target.substr(0, std::min<size_t>(question, 200));
    return respond(error_response(
        bad_request("", "path = " + shown + ": expected two hexadecimal digits behind each %")));
  }
  request.path = std::move(*path);
  auto exchange = set_.handler->handle(std::move(request), *this);
  if (exchange == nullptr || answered_) return;
  if (state_ == State::kClosed) return exchange->gone();
  exchange_ = std::move(exchange);
}

// --- Answering ---------------------------------------------------------------------------------

void Connection::append_head(int32_t status, const Headers& headers, std::string* out) {
  status_ = status;
  *out += "HTTP/1.1 " + std::to_string(status) + " " + reason_phrase(status) + "\r\n";
  *out += "Date: " + http_date() + "\r\nServer: mimo\r\n";
  if (!keep_alive_) *out += "Connection: close\r\n";
  bool has_id = false;
  for (const auto& [name, value] : headers) {
    has_id |= name == "X-Request-Id";
    *out += name + ": " + value + "\r\n";
  }
  if (!has_id && !request_id_.empty()) *out += "X-Request-Id: " + request_id_ + "\r\n";
}

void Connection::respond(HttpResponse response) {
  if (state_ == State::kClosed) return;
  state_ = State::kAnswering;
  append_head(response.status, response.headers, &out_);
  out_ += "Content-Type: " + response.content_type + "\r\n";
  out_ += "Content-Length: " + std::to_string(response.body.size()) + "\r\n\r\n";
  if (!head_only_) out_ += response.body;
  answered();
}

void Connection::begin_stream(const Headers& headers) {
  if (state_ == State::kClosed) return;
  // Before chunks there was only the connection's end to tell a body's.
  if (!chunked_) keep_alive_ = false;
  append_head(200, headers, &out_);
  if (chunked_) out_ += "Transfer-Encoding: chunked\r\n";
  out_ += "\r\n";
}

void Connection::write(std::string_view data) {
  if (state_ == State::kClosed || data.empty()) return;
  if (chunked_) {
    std::array<char, 24> size;
    const int length = std::snprintf(size.data(), size.size(), "%zx\r\n", data.size());
    out_.append(size.data(), static_cast<size_t>(length));
  }
  out_ += data;
  if (chunked_) out_ += "\r\n";
  flush();
}

void Connection::end_stream(bool whole) {
  if (state_ == State::kClosed) return;
  if (whole && chunked_) out_ += "0\r\n\r\n";
  if (!whole) keep_alive_ = false;
  answered();
}

void Connection::answered() {
  answered_ = true;
  exchange_.reset();
  if (set_.answered) set_.answered(status_);
  if (!writing_ && out_.empty()) return next();
  flush();
}

void Connection::flush() {
  if (writing_ || out_.empty()) return;
  writing_out_.clear();
  writing_out_.swap(out_);
  written_ = 0;
  write_some();
}

void Connection::write_some() {
  writing_ = true;
  // "100 Continue" goes out while the request's own time runs.
  if (state_ == State::kAnswering) deadline_in(set_.limits.write_timeout_s);
  socket_.async_write_some(
      asio::buffer(writing_out_.data() + written_, writing_out_.size() - written_),
      [self = shared_from_this()](error_code error, size_t num_bytes) {
        self->on_write(error, num_bytes);
      });
}

void Connection::on_write(error_code error, size_t num_bytes) {
  writing_ = false;
  if (state_ == State::kClosed) return;
  if (error) return close();
  written_ += num_bytes;
  if (written_ < writing_out_.size()) return write_some();
  if (!out_.empty()) return flush();
  if (answered_) return next();
  // A copy: the exchange may give its last answer here, and is let go then.
  if (const auto exchange = exchange_) exchange->writable();
}

// The answer is out.
void Connection::next() {
  if (!keep_alive_ || set_.draining) return linger();
  begin_request();
  parse();
  read();
}

// Closed at once, what the client is still sending would make its kernel drop what it has not read.
void Connection::linger() {
  if (at_end_) return close();
  error_code ignored;
  socket_.shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
  state_ = State::kLingering;
  in_.consume(in_.size());
  deadline_in(kLingerS);
  read();
}

void Connection::close() {
  if (state_ == State::kClosed) return;
  const auto self = shared_from_this();
  state_ = State::kClosed;
  error_code ignored;
  socket_.close(ignored);
  if (const auto exchange = std::move(exchange_)) exchange->gone();
  set_.all.erase(self);
  if (set_.closed) set_.closed();
}

}  // namespace mimo::http
