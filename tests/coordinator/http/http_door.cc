#include "tests/coordinator/http/http_door.h"

#include "coordinator/chat/template_files.h"

namespace mimo::http {
namespace {

constexpr const char* kTemplate =
    "{%- for message in messages %}"
    "{%- if message.role == 'refused' %}{{ raise_exception('this role is refused') }}{% endif %}"
    "{{- message.content }}{%- endfor %}";

std::unique_ptr<chat::Prompter> make_prompter(bool has_template) {
  if (!has_template) return nullptr;
  chat::TemplateFiles files;
  files.main = kTemplate;
  return chat::Prompter::create(files).value();
}

coordinator::FrontDoor::Options with_chat(coordinator::FrontDoor::Options options) {
  options.api.health_interval_s = 0.01;
  return options;
}

}  // namespace

HttpDoor::HttpDoor(const Options& wanted)
    : front(with_chat(wanted.front)), prompter(make_prompter(wanted.has_template)) {
  coordinator::ServerFacts facts = front.facts;
  facts.model.set_vocab_size(wanted.front.sessions.limits.vocab_limit);
  facts.model.set_max_positions(wanted.front.sessions.limits.positions_max);
  for (const int32_t id : wanted.front.sessions.limits.eos_ids) facts.model.add_eos_token_ids(id);
  facts.server.set_version("1.2.3");
  Doors doors{front.sessions,
              front.tokenizer.get(),
              prompter.get(),
              facts,
              [this] { return front.server->readiness(); },
              front.registry,
              front.clock,
              {{"full", {{"k", 100}, {"v", 50}}}, {"window", {{"k", 10}, {"v", 5}}}},
              "auto"};
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
