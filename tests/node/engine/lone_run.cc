#include "tests/node/engine/lone_run.h"

#include <algorithm>

#include "tests/node/engine/fake_rank.h"

namespace mimo::node {

LoneRun lone_run(const SequenceRequest& request, const Engine::Options& options, bool with_nan) {
  LoneRun run;
  std::vector<int32_t> all = request.prompt;
  const uint64_t seed = request.sampling.seed;
  const auto& stops = request.sampling.stop_ids;
  while (run.finish == FinishReason::kNone) {
    const auto position = static_cast<int32_t>(all.size()) - 1;
    if (with_nan && FakeRank::is_nan(seed, position)) {
      run.finish = FinishReason::kError;
      return run;
    }
    const int32_t token = FakeRank::next_token(seed, all, options.vocab);
    all.push_back(token);
    run.tokens.push_back(token);
    if (!request.ignore_stop_ids && std::find(stops.begin(), stops.end(), token) != stops.end()) {
      run.finish = FinishReason::kStop;
      run.stop_id = token;
    } else if (static_cast<int32_t>(run.tokens.size()) == request.max_tokens ||
               static_cast<int32_t>(all.size()) == options.positions_max) {
      run.finish = FinishReason::kLength;
    }
  }
  return run;
}

bool Stream::add(const SequenceEvent& event) {
  if (finish != FinishReason::kNone) return false;
  for (const auto& choice : event.tokens) tokens.push_back(choice.id);
  if (!event.prompt_scores.empty()) {
    if (event.prompt_begin != static_cast<int32_t>(prompt_scores.size()) + 1) return false;
    for (const auto& score : event.prompt_scores) prompt_scores.push_back(score.id);
  }
  finish = event.finish;
  stop_id = event.stop_id;
  error = event.error;
  return true;
}

}  // namespace mimo::node
