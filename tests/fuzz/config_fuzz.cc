#include <cstddef>
#include <cstdint>
#include <string_view>

#include "checkpoint/model_config.h"
#include "parallel/shard_bytes.h"

// A config.json from anybody: read or refused, and planned with when it is read.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto eos = mimo::checkpoint::parse_generation_eos(text, 1000, "generation");
  const auto config = mimo::checkpoint::parse_model_config(text, "config");
  if (!config.ok()) return 0;
  for (const int32_t tp : {1, 2, 3, 4, 16}) {
    const auto plan = mimo::parallel::plan_shards(config.value(), {.tp = tp});
    if (!plan.ok()) continue;
    const auto bytes = mimo::parallel::rank_bytes(config.value(), plan.value(), tp - 1);
    if (bytes.total() <= 0) __builtin_trap();
  }
  return 0;
}
