#include "coordinator/api/server_facts.h"

#include <algorithm>

namespace mimo::coordinator {

double kv_usage(const GroupStatus& status) {
  const auto used = [](int32_t free, int32_t total) {
    return total > 0 ? static_cast<double>(total - free) / total : 0.0;
  };
  return std::max(used(status.full_pages_free, status.full_pages),
                  used(status.window_pages_free, status.window_pages));
}

}  // namespace mimo::coordinator
