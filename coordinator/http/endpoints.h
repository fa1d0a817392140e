#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "coordinator/http/doors.h"
#include "coordinator/http/exchange.h"
#include "coordinator/http/loop.h"
#include "coordinator/http/prepare.h"
#include "coordinator/sessions/work_pool.h"

namespace mimo::http {

// Which path is answered by what. What may take longer than a small request's parsing is done by
// the pool, so that no connection waits for another's.
//
// Thread:    the loop's.
// Lifetime:  loop and pool outlive it; the pool is stopped before it is gone.
class Endpoints final : public Handler {
 public:
  Endpoints(Doors doors, Loop& loop, coordinator::WorkPool& pool);

  std::shared_ptr<Exchange> handle(HttpRequest request, Responder& responder) override;

 private:
  using Prepare = Preparation (*)(const Doors&, const std::string&, std::string, int64_t);
  using Page = std::function<HttpResponse()>;

  std::shared_ptr<Exchange> post(HttpRequest request, Responder& responder);
  std::shared_ptr<Exchange> get(const HttpRequest& request, Responder& responder);
  std::shared_ptr<Exchange> generate(HttpRequest request, Responder& responder, Prepare prepare,
                                     const char* id_prefix);
  Preparation prepared(Prepare prepare, const std::string& body, std::string id) const;
  std::shared_ptr<Exchange> page_now(Responder& responder, const Page& page);
  std::shared_ptr<Exchange> page_later(Responder& responder, Page page);
  std::string fresh_id(const char* prefix);

  const Doors doors_;
  Loop& loop_;
  coordinator::WorkPool& pool_;
  const int64_t started_;  // the second, since 1970
  const uint64_t id_base_;
  uint64_t num_ids_ = 0;
};

}  // namespace mimo::http
