#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "coordinator/api/readiness.h"
#include "coordinator/api/server_facts.h"
#include "coordinator/sessions/admission.h"
#include "coordinator/sessions/generate_spec.h"
#include "coordinator/sessions/sessions.h"
#include "coordinator/text/tokenizer.h"

namespace prometheus {
class Registry;
}

namespace mimo::chat {
class Prompter;
}

namespace mimo::http {

// Bytes of one page id of a layer group, over all ranks, a plane.
struct KvPlane {
  std::string name;  // "k", "v"
  int64_t values_per_page = 0;
};
struct KvGroup {
  std::string name;  // "full", "window"
  std::vector<KvPlane> planes;
};

// What the endpoints answer with. All of it outlives the server.
struct Doors {
  coordinator::Sessions& sessions;
  const text::Tokenizer* tokenizer;  // nullptr: ids only
  const chat::Prompter* prompter;    // nullptr: no chat
  coordinator::ServerFacts facts;
  std::function<coordinator::Readiness()> readiness;  // thread: any
  std::shared_ptr<prometheus::Registry> registry;
  const Clock& clock;
  coordinator::RequestLimits limits;          // of one request
  coordinator::Admission::Options admission;  // of all that run together
  std::vector<KvGroup> kv_groups;             // full, then window
  std::string engine_mode;                    // the option's word; "auto" goes by the backend
};

}  // namespace mimo::http
