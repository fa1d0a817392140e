#pragma once

#include <array>
#include <cstdint>

namespace prometheus {
class Registry;
class Counter;
class Gauge;
}  // namespace prometheus

namespace mimo::http {

// The door's numbers; alone knows the metrics' names.
//
// Thread:    the loop's.
// Lifetime:  the registry outlives it.
class HttpProbe final {
 public:
  explicit HttpProbe(prometheus::Registry& registry);

  void answered(int32_t status);
  void connections(int32_t count);

 private:
  std::array<prometheus::Counter*, 5> answered_{};  // 1xx to 5xx
  prometheus::Gauge* connections_;
};

}  // namespace mimo::http
