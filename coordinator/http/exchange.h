#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "coordinator/http/api_error.h"

namespace mimo::http {

// A request as it came, whole.
struct HttpRequest {
  std::string method;
  std::string path;   // without its query, escapes undone
  std::string query;  // behind the '?'
  std::string content_type;
  std::string request_id;  // X-Request-Id, when it is fit to be repeated
  bool by_page = false;    // a browser's, for a page of another site or for one that says whose
  std::string body;
};

using Headers = std::vector<std::pair<std::string, std::string>>;

struct HttpResponse {
  int32_t status = 200;
  std::string content_type = "application/json";
  std::string body;
  Headers headers;
};

HttpResponse error_response(const ApiError& error);
// `id` where it may stand in a header and in logs, and else nothing.
std::string fit_request_id(std::string_view id);
// The names of a client's fields that nobody knows, without what could break a header.
void add_ignored(const std::vector<std::string>& names, Headers* headers);

// A connection, as who answers its request sees it. One answer a request: respond(), or
// begin_stream(), any number of write()s and end_stream().
//
// Thread: the loop's.
class Responder {
 public:
  virtual ~Responder() = default;
  virtual void respond(HttpResponse response) = 0;
  virtual void begin_stream(const Headers& headers) = 0;
  // Not while busy().
  virtual void write(std::string_view data) = 0;
  // False: the client must see that the stream is not whole, so the connection is cut behind it.
  virtual void end_stream(bool whole) = 0;
  // Something is being written still.
  virtual bool busy() const = 0;
  virtual void cut() = 0;
};

// Who answers one request. Dropped by its connection when the answer is given or nobody waits for
// it any more.
//
// Thread: the loop's.
class Exchange {
 public:
  virtual ~Exchange() = default;
  // The client is gone; the responder is not to be used any more.
  virtual void gone() = 0;
  // All that was written is out.
  virtual void writable() = 0;
};

// Answers requests.
//
// Thread: the loop's.
class Handler {
 public:
  virtual ~Handler() = default;
  // Answers at once (nullptr), or later by the exchange that it returns. `responder` lives until
  // the exchange has answered or is told gone().
  virtual std::shared_ptr<Exchange> handle(HttpRequest request, Responder& responder) = 0;
};

}  // namespace mimo::http
