#include "tests/coordinator/http/http_door.h"

namespace mimo::http {
HttpDoor::HttpDoor(const Options& wanted) : front(wanted.front) {
  coordinator::ServerFacts facts = front.facts;
  facts.server.set_version("1.2.3");
  Doors doors{front.sessions,
              front.tokenizer.get(),
              front.prompter.get(),
              facts,
              wanted.readiness,
              front.registry,
              front.clock,
              wanted.front.sessions.limits,
              wanted.front.admission,
              {{"full", {{"k", 100}, {"v", 50}}}, {"window", {{"k", 10}, {"v", 5}}}},
              "auto"};
  if (!doors.readiness) doors.readiness = [this] { return front.server->readiness(); };
  server = HttpServer::create(wanted.http, std::move(doors)).value();
}

HttpDoor::~HttpDoor() {
  front.admission.close();
  front.sessions.stop(coordinator::draining_error());
  server->stop(1.0);
}

nlohmann::json saying(const std::string& text) {
  return {{"messages", {{{"role", "user"}, {"content", text + "<end>"}}}}};
}

}  // namespace mimo::http
