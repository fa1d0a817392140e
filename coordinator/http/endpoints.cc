#include "coordinator/http/endpoints.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <random>
#include <string_view>
#include <utility>

#include "coordinator/http/console_page.h"
#include "coordinator/http/server_pages.h"
#include "coordinator/sessions/guarded.h"

namespace mimo::http {
namespace {

// Up to here a body is parsed, rendered and on its way within about a hundred microseconds.
constexpr size_t kInlineBodyBytes = 4096;
constexpr std::string_view kModelPrefix = "/v1/models/";

constexpr std::array<std::string_view, 5> kPosts = {"/v1/chat/completions", "/v1/completions",
                                                    "/v1/embeddings", "/tokenize", "/detokenize"};
constexpr std::array<std::string_view, 6> kGets = {"/",        "/v1/models", "/health",
                                                   "/version", "/metrics",   "/console/state"};

template <size_t kSize>
bool contains(const std::array<std::string_view, kSize>& paths, std::string_view path) {
  return std::find(paths.begin(), paths.end(), path) != paths.end();
}

int64_t unix_s() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

uint64_t random_u64() {
  std::random_device device;
  return (static_cast<uint64_t>(device()) << 32) | device();
}

HttpResponse no_such_path(const HttpRequest& request) {
  ApiError error =
      bad_request("", "no such path: " + request.method + " " + request.path.substr(0, 200));
  error.status = 404;
  error.code = "not_found";
  return error_response(error);
}

HttpResponse wrong_method(const HttpRequest& request, const char* allowed) {
  ApiError error = bad_request("", request.path + " takes " + allowed + ", not " + request.method);
  error.status = 405;
  error.code = "method_not_allowed";
  HttpResponse response = error_response(error);
  response.headers.emplace_back("Allow", allowed);
  return response;
}

HttpResponse overloaded() {
  ApiError error = api_error(Error{Code::kResourceExhausted, "too many requests are being read"});
  error.retry_after_ms = 1000;
  return error_response(error);
}

// A page of another site may send a form, plain text or bytes of no kind here without being asked
// whether it may; JSON it may not.
bool is_json(const HttpRequest& request) {
  constexpr std::string_view kJson = "application/json";
  if (request.content_type.empty()) return !request.by_page;
  std::string kind = request.content_type.substr(0, request.content_type.find(';'));
  while (!kind.empty() && kind.back() == ' ') kind.pop_back();
  for (char& c : kind) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
  return kind == kJson;
}

HttpResponse no_json(const HttpRequest& request) {
  const std::string shown =
      request.content_type.empty() ? "none" : request.content_type.substr(0, 100);
  ApiError error = bad_request("", "Content-Type: " + shown + ": expected application/json");
  error.status = 415;
  return error_response(error);
}

// A page that another thread makes.
//
// Thread: the loop's.
class LaterPage final : public Exchange {
 public:
  explicit LaterPage(Responder& responder) : responder_(&responder) {}
  void gone() override { responder_ = nullptr; }
  void writable() override {}
  void answer(HttpResponse response) {
    if (Responder* responder = std::exchange(responder_, nullptr))
      responder->respond(std::move(response));
  }

 private:
  Responder* responder_;
};

HttpResponse made(const std::function<HttpResponse()>& page) {
  auto response = coordinator::guarded("a page", page);
  return response ? std::move(*response) : error_response(api_error(coordinator::failed_inside()));
}

void take(Generation& generation, Preparation preparation) {
  if (preparation.error) return generation.refuse(*preparation.error);
  generation.start(std::move(preparation.prepared));
}

}  // namespace

Endpoints::Endpoints(Doors doors, Loop& loop, coordinator::WorkPool& pool)
    : doors_(std::move(doors)),
      loop_(loop),
      pool_(pool),
      started_(unix_s()),
      id_base_(random_u64()) {}

std::string Endpoints::fresh_id(const char* prefix) {
  std::array<char, 64> text;
  std::snprintf(text.data(), text.size(), "%s%016" PRIx64 "%08" PRIx64, prefix, id_base_,
                ++num_ids_);
  return text.data();
}

std::shared_ptr<Exchange> Endpoints::handle(HttpRequest request, Responder& responder) {
  const bool reads = request.method == "GET" || request.method == "HEAD";
  const bool is_get = contains(kGets, request.path) ||
                      request.path.compare(0, kModelPrefix.size(), kModelPrefix) == 0;
  if (is_get) {
    if (reads) return get(request, responder);
    responder.respond(wrong_method(request, "GET, HEAD"));
  } else if (contains(kPosts, request.path)) {
    if (request.method == "POST") return post(std::move(request), responder);
    responder.respond(wrong_method(request, "POST"));
  } else {
    responder.respond(no_such_path(request));
  }
  return nullptr;
}

std::shared_ptr<Exchange> Endpoints::get(const HttpRequest& request, Responder& responder) {
  // These walk over every metric.
  if (request.path == "/metrics")
    return page_later(responder, [this] { return metrics_page(doors_); });
  if (request.path == "/console/state")
    return page_later(responder, [this] { return console_state_page(doors_); });
  if (request.path == "/") return page_now(responder, console_page);
  return page_now(responder, [&] {
    if (request.path == "/v1/models") return models_page(doors_, started_);
    if (request.path == "/health") return health_page(doors_);
    if (request.path == "/version") return version_page(doors_);
    return model_page(doors_, request.path.substr(kModelPrefix.size()), started_);
  });
}

std::shared_ptr<Exchange> Endpoints::post(HttpRequest request, Responder& responder) {
  const std::string path = request.path;
  if (path == "/v1/embeddings") return page_now(responder, embeddings_page);
  if (!is_json(request)) {
    responder.respond(no_json(request));
    return nullptr;
  }
  if (path == "/v1/chat/completions")
    return generate(std::move(request), responder, prepare_chat, "chatcmpl-");
  if (path == "/v1/completions")
    return generate(std::move(request), responder, prepare_completion, "cmpl-");
  const bool is_large = request.body.size() > kInlineBodyBytes;
  Page answer = [this, answer = path == "/tokenize" ? tokenize : detokenize,
                 body = std::move(request.body)] { return answer(doors_, body); };
  return is_large ? page_later(responder, std::move(answer)) : page_now(responder, answer);
}

std::shared_ptr<Exchange> Endpoints::page_now(Responder& responder, const Page& page) {
  responder.respond(made(page));
  return nullptr;
}

std::shared_ptr<Exchange> Endpoints::page_later(Responder& responder, Page page) {
  auto exchange = std::make_shared<LaterPage>(responder);
  const bool posted = pool_.post([this, exchange, page = std::move(page)]() mutable {
    auto response = std::make_shared<HttpResponse>(made(page));
    loop_.post(
        [exchange = std::move(exchange), response] { exchange->answer(std::move(*response)); });
  });
  if (posted) return exchange;
  responder.respond(overloaded());
  return nullptr;
}

Preparation Endpoints::prepared(Prepare prepare, const std::string& body, std::string id) const {
  auto ready = coordinator::guarded("preparing",
                                    [&] { return prepare(doors_, body, std::move(id), unix_s()); });
  if (ready) return std::move(*ready);
  Preparation failed;
  failed.error = api_error(coordinator::failed_inside());
  return failed;
}

std::shared_ptr<Exchange> Endpoints::generate(HttpRequest request, Responder& responder,
                                              Prepare prepare, const char* id_prefix) {
  auto generation =
      std::make_shared<Generation>(loop_, doors_.sessions, responder, request.request_id);
  std::string id = fresh_id(id_prefix);
  if (request.body.size() <= kInlineBodyBytes) {
    take(*generation, prepared(prepare, request.body, std::move(id)));
    return generation;
  }
  const bool posted = pool_.post(
      [this, generation, prepare, id = std::move(id), body = std::move(request.body)]() mutable {
        auto ready = std::make_shared<Preparation>(prepared(prepare, body, std::move(id)));
        loop_.post(
            [generation = std::move(generation), ready] { take(*generation, std::move(*ready)); });
      });
  if (posted) return generation;
  responder.respond(overloaded());
  return nullptr;
}

}  // namespace mimo::http
