#pragma once

#include <vector>

#include "node/engine/engine.h"

namespace mimo::node {

// What a sequence must say, computed alone and without any engine.
struct LoneRun {
  std::vector<int32_t> tokens;
  FinishReason finish = FinishReason::kNone;
  int32_t stop_id = -1;
};
LoneRun lone_run(const SequenceRequest& request, const Engine::Options& options, bool with_nan);

// What one sequence has said so far, gathered from its events.
struct Stream {
  std::vector<int32_t> tokens;
  std::vector<int32_t> prompt_scores;  // ids, from position 1
  FinishReason finish = FinishReason::kNone;
  int32_t stop_id = -1;
  Error error{Code::kOk, ""};

  // False when the event cannot follow: something after the end, or a gap in the prompt's scores.
  bool add(const SequenceEvent& event);
};

}  // namespace mimo::node
