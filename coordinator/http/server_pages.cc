#include "coordinator/http/server_pages.h"

#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <sstream>

#include "coordinator/api/state_probe.h"
#include "coordinator/http/json_text.h"
#include "coordinator/http/request_fields.h"

namespace mimo::http {
namespace {

const char* state_name(v1::ServerInfo::State state) {
  switch (state) {
    case v1::ServerInfo::STARTING:
      return "starting";
    case v1::ServerInfo::READY:
      return "ready";
    case v1::ServerInfo::DEGRADED:
      return "degraded";
    case v1::ServerInfo::DRAINING:
      return "draining";
    default:
      return "not_ready";
  }
}

Json model_json(const Doors& doors, int64_t started) {
  const v1::ModelInfo& model = doors.facts.model;
  return {{"id", model.model()},
          {"object", "model"},
          {"created", started},
          {"owned_by", "mimo"},
          {"root", model.model()},
          {"parent", nullptr},
          {"max_model_len", model.max_positions()}};
}

HttpResponse page(const Json& json) {
  HttpResponse response;
  response.body = json.dump(-1, ' ', false, Json::error_handler_t::replace);
  return response;
}

// A counter's or a gauge's value over all its labels; 0 when it has none yet.
int64_t total(const std::vector<prometheus::MetricFamily>& families, const std::string& name) {
  double sum = 0;
  for (const auto& family : families)
    if (family.name == name)
      for (const auto& metric : family.metric) sum += metric.counter.value + metric.gauge.value;
  return static_cast<int64_t>(sum);
}

// A cache's values are floats where the engine computes in them.
int64_t value_bytes(const Doors& doors, const coordinator::GroupStatus& status) {
  if (doors.engine_mode == "f32") return 4;
  return doors.engine_mode == "auto" && status.backend == "cpu" ? 4 : 2;
}

Json kv_json(const Doors& doors, const coordinator::GroupStatus& status) {
  Json groups = Json::array();
  for (const KvGroup& group : doors.kv_groups) {
    const bool full = group.name == "full";
    const int64_t pages = full ? status.full_pages : status.window_pages;
    const int64_t free = full ? status.full_pages_free : status.window_pages_free;
    Json planes = Json::array();
    for (const KvPlane& plane : group.planes) {
      const int64_t each = plane.values_per_page * value_bytes(doors, status);
      planes.push_back(
          {{"name", plane.name}, {"bytes", pages * each}, {"used_bytes", (pages - free) * each}});
    }
    groups.push_back({{"name", group.name},
                      {"pages", pages},
                      {"used_pages", pages - free},
                      {"planes", std::move(planes)}});
  }
  return groups;
}

Json workers_json(const coordinator::GroupStatus& status) {
  Json workers = Json::array();
  for (const v1::WorkerInfo& worker : status.workers)
    workers.push_back({{"id", worker.worker_id()},
                       {"rank", worker.rank()},
                       {"state", worker.state()},
                       {"address", worker.address()},
                       {"host", worker.host()},
                       {"pid", worker.pid()},
                       {"metrics_address", worker.metrics_address()}});
  return workers;
}

}  // namespace

HttpResponse models_page(const Doors& doors, int64_t started) {
  Json models = Json::array();
  models.push_back(model_json(doors, started));
  return page(Json::object({{"object", "list"}, {"data", std::move(models)}}));
}

HttpResponse model_page(const Doors& doors, const std::string& name, int64_t started) {
  const std::string& served = doors.facts.model.model();
  if (name == served) return page(model_json(doors, started));
  return error_response(api_error(Error{
      Code::kNotFound, "model = \"" + name.substr(0, 200) + "\": expected \"" + served + "\""}));
}

HttpResponse health_page(const Doors& doors) {
  const coordinator::Readiness ready = doors.readiness();
  HttpResponse response =
      page(Json::object({{"status", state_name(ready.state)}, {"reason", ready.reason}}));
  if (!ready.healthy()) response.status = 503;
  return response;
}

HttpResponse version_page(const Doors& doors) {
  return page(Json::object({{"version", doors.facts.server.version()}}));
}

HttpResponse metrics_page(const Doors& doors) {
  auto families = doors.registry->Collect();
  for (auto& family : coordinator::StateProbe(doors.facts, doors.sessions).Collect())
    families.push_back(std::move(family));
  HttpResponse response;
  response.content_type = "text/plain; version=0.0.4; charset=utf-8";
  response.body = prometheus::TextSerializer().Serialize(families);
  return response;
}

HttpResponse console_state_page(const Doors& doors) {
  const coordinator::GroupStatus status = doors.facts.status();
  const coordinator::Readiness ready = doors.readiness();
  const coordinator::Sessions::Load load = doors.sessions.load();
  const auto families = doors.registry->Collect();
  HttpResponse response =
      page({{"time_s", doors.clock.now_s()},
            {"version", doors.facts.server.version()},
            {"model", doors.facts.model.model()},
            {"max_positions", doors.facts.model.max_positions()},
            {"state", state_name(ready.state)},
            {"reason", ready.reason},
            {"backend", status.backend},
            {"tensor_parallel", doors.facts.server.tensor_parallel()},
            {"epoch", status.epoch},
            {"steps", status.steps},
            {"requests",
             {{"running", status.running},
              {"waiting", status.waiting},
              {"running_max", status.sequences_max},
              {"streams", load.num_streams},
              {"running_tokens", load.running_tokens},
              {"waiting_tokens", load.waiting_tokens}}},
            {"tokens",
             {{"prompt_total", total(families, "vllm:prompt_tokens_total")},
              {"generation_total", total(families, "vllm:generation_tokens_total")}}},
            {"kv", {{"usage", coordinator::kv_usage(status)}, {"groups", kv_json(doors, status)}}},
            {"workers", workers_json(status)}});
  response.headers.emplace_back("Cache-Control", "no-store");
  return response;
}

HttpResponse embeddings_page() {
  ApiError error = api_error(
      Error{Code::kUnimplemented,
            "embeddings: this server runs one model, which writes text and has no embeddings"});
  return error_response(error);
}

}  // namespace mimo::http
