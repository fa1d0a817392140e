#include "coordinator/http/console_page.h"

#include <random>
#include <string>

#include "base/check.h"

namespace mimo::http {
namespace {

constexpr std::string_view kPlace = "NONCE_OF_THIS_ANSWER";

// 128 bits that nobody can guess.
std::string fresh_nonce() {
  constexpr char kDigits[] = "0123456789abcdef";
  std::random_device random;
  std::string nonce;
  for (int i = 0; i < 4; ++i) {
    uint32_t bits = random();
    for (int digit = 0; digit < 8; ++digit, bits >>= 4) nonce += kDigits[bits & 15];
  }
  return nonce;
}

}  // namespace

HttpResponse console_page() {
  const std::string nonce = fresh_nonce();
  const std::string_view html = console_html();
  HttpResponse response;
  response.content_type = "text/html; charset=utf-8";
  size_t from = 0;
  for (size_t at; (at = html.find(kPlace, from)) != std::string_view::npos;
       from = at + kPlace.size()) {
    response.body.append(html.substr(from, at - from)).append(nonce);
  }
  CHECK(from > 0);
  response.body.append(html.substr(from));
  const std::string own = "'nonce-" + nonce + "'";
  response.headers = {
      {"Content-Security-Policy", "default-src 'none'; script-src " + own + "; style-src " + own +
                                      "; img-src data:; connect-src 'self'; base-uri 'none'; "
                                      "form-action 'none'; frame-ancestors 'none'"},
      {"X-Content-Type-Options", "nosniff"},
      {"Referrer-Policy", "no-referrer"},
      {"Cache-Control", "no-store"},
  };
  return response;
}

}  // namespace mimo::http
