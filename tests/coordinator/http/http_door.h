#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "coordinator/http/http_server.h"
#include "tests/coordinator/api/front_door.h"
#include "tests/coordinator/http/http_client.h"

namespace mimo::http {

struct HttpDoorOptions {
  coordinator::FrontDoor::Options front = coordinator::FrontDoor::with_chat();
  HttpServer::Options http;
  std::function<coordinator::Readiness()> readiness;  // empty: the front door's
};

// The HTTP door over a SmallEngine, which says what its prompt said; "<end>" ends it.
struct HttpDoor {
  using Options = HttpDoorOptions;

  explicit HttpDoor(const Options& wanted = {});
  ~HttpDoor();

  const std::string& address() const { return server->address(); }

  coordinator::FrontDoor front;
  std::unique_ptr<HttpServer> server;
};

// A conversation whose reply says `text`, and then stops.
nlohmann::json saying(const std::string& text);

}  // namespace mimo::http
