#include "tests/system/manager_options.h"

#include "checkpoint/checkpoint.h"

namespace mimo::testing {

coordinator::GroupManager::Options manager_options(const std::string& model_folder, int32_t tp) {
  const auto checkpoint = checkpoint::Checkpoint::open(model_folder).value();
  coordinator::GroupManager::Options options;
  options.model_folder = model_folder;
  options.checkpoint_digest = checkpoint->digest();
  options.shard = parallel::plan_shards(checkpoint->config(), {.tp = tp}).value();
  options.heartbeat_interval_s = 0.2;
  options.heartbeat_timeout_s = 2.0;
  v1::AssignRank& engine = options.engine;
  engine.set_page_tokens(64);
  engine.set_full_pages(128);
  engine.set_window_pages(64);
  engine.set_sequences_max(8);
  engine.set_waiting_max(64);
  engine.set_batch_tokens_max(256);
  engine.set_prefill_chunk_max(64);
  engine.set_positions_max(1024);
  engine.set_mode("f32");
  engine.set_step_timeout_s(10);
  return options;
}

}  // namespace mimo::testing
