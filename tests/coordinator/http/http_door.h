#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "coordinator/chat/prompter.h"
#include "coordinator/http/http_server.h"
#include "tests/coordinator/api/front_door.h"
#include "tests/coordinator/http/http_client.h"

namespace mimo::http {

// The HTTP door over a SmallEngine, which says what its prompt said. The chat template writes the
// messages' contents one behind the other and nothing else, so that a conversation says what the
// reply will be; "<end>" ends it.
struct HttpDoor {
  struct Options {
    coordinator::FrontDoor::Options front = coordinator::FrontDoor::options();
    HttpServer::Options http;
    bool has_template = true;
  };

  explicit HttpDoor(const Options& wanted = {});
  ~HttpDoor();

  const std::string& address() const { return server->address(); }

  coordinator::FrontDoor front;
  std::unique_ptr<chat::Prompter> prompter;  // nullptr: conversations are refused
  std::unique_ptr<HttpServer> server;
};

// A conversation whose reply says `text`, and then stops.
nlohmann::json saying(const std::string& text);

}  // namespace mimo::http
