#include "coordinator/http/exchange.h"

#include <algorithm>

namespace mimo::http {
namespace {

constexpr size_t kRequestIdBytesMax = 128;
constexpr size_t kIgnoredShownMax = 16;

}  // namespace

HttpResponse error_response(const ApiError& error) {
  HttpResponse response;
  response.status = error.status;
  response.body = error_body(error);
  if (error.retry_after_ms >= 0) {
    const int64_t seconds = (error.retry_after_ms + 999) / 1000;
    response.headers.emplace_back("Retry-After", std::to_string(std::max<int64_t>(seconds, 1)));
    response.headers.emplace_back("retry-after-ms", std::to_string(error.retry_after_ms));
  }
  return response;
}

std::string fit_request_id(std::string_view id) {
  if (id.size() > kRequestIdBytesMax) return "";
  for (const char c : id)
    if (c <= ' ' || c > '~') return "";
  return std::string(id);
}

void add_ignored(const std::vector<std::string>& names, Headers* headers) {
  std::string list;
  for (size_t i = 0; i < names.size() && i < kIgnoredShownMax; ++i) {
    std::string name;
    for (const char c : names[i].substr(0, 64))
      if (c > ' ' && c <= '~' && c != ',') name += c;
    list += (list.empty() ? "" : ", ") + name;
  }
  if (!names.empty()) headers->emplace_back("X-Ignored-Fields", list);
}

}  // namespace mimo::http
