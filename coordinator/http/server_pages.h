#pragma once

#include <string>

#include "coordinator/http/doors.h"
#include "coordinator/http/exchange.h"

namespace mimo::http {

// What the server tells of itself. Thread: any.

HttpResponse models_page(const Doors& doors, int64_t started);
// `name` is what stands behind /v1/models/.
HttpResponse model_page(const Doors& doors, const std::string& name, int64_t started);
// 200 while it serves, and else 503 with the reason.
HttpResponse health_page(const Doors& doors);
HttpResponse version_page(const Doors& doors);
// What the metrics server answers too.
HttpResponse metrics_page(const Doors& doors);
// For the console; its members are in this room's README.
HttpResponse console_state_page(const Doors& doors);
// Always 501: why there are no embeddings.
HttpResponse embeddings_page();

}  // namespace mimo::http
