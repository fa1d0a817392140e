#include "coordinator/http/console_page.h"

#include <string>

namespace mimo::http {

HttpResponse console_page() {
  HttpResponse response;
  response.content_type = "text/html; charset=utf-8";
  response.body = std::string(console_html());
  response.headers.emplace_back("Cache-Control", "no-cache");
  response.headers.emplace_back(
      "Content-Security-Policy",
      "default-src 'self' 'unsafe-inline' data:; frame-ancestors 'none'; base-uri 'none'");
  response.headers.emplace_back("X-Content-Type-Options", "nosniff");
  return response;
}

}  // namespace mimo::http
