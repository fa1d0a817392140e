#include "coordinator/http/reply.h"

#include <algorithm>

#include "coordinator/http/json_text.h"
#include "mimo/v1/chat.pb.h"

namespace mimo::http {

void append_usage(const v1::Usage& usage, std::string* out) {
  *out += "{\"prompt_tokens\":";
  append_number(int64_t{usage.prompt_tokens()}, out);
  *out += ",\"completion_tokens\":";
  append_number(int64_t{usage.completion_tokens()}, out);
  *out += ",\"total_tokens\":";
  append_number(int64_t{usage.total_tokens()}, out);
  *out += ",\"prompt_tokens_details\":{\"cached_tokens\":";
  append_number(int64_t{usage.cached_prompt_tokens()}, out);
  *out += "},\"completion_tokens_details\":{\"reasoning_tokens\":";
  append_number(int64_t{usage.reasoning_tokens()}, out);
  *out += "}}";
}

std::string reply_head(const ReplyFacts& facts, const char* object) {
  std::string head = "{\"id\":";
  append_quoted(facts.id, &head);
  head += ",\"object\":\"";
  head += object;
  head += "\",\"created\":";
  append_number(facts.created, &head);
  head += ",\"model\":";
  append_quoted(facts.model, &head);
  head += ",\"system_fingerprint\":";
  append_quoted(facts.fingerprint, &head);
  head += ",\"choices\":[";
  return head;
}

template <typename Finished>
void append_stop_reason(const ReplyFacts& facts, const Finished& finished, std::string* out) {
  if (finished.stop_match_case() == Finished::kStopText)
    return append_quoted(finished.stop_text(), out);
  const auto& eos = facts.eos_ids;
  const bool is_id = finished.stop_match_case() == Finished::kStopTokenId;
  if (is_id && std::find(eos.begin(), eos.end(), finished.stop_token_id()) == eos.end())
    return append_number(int64_t{finished.stop_token_id()}, out);
  *out += "null";
}
template void append_stop_reason(const ReplyFacts&, const v1::FinishedEvent&, std::string*);
template void append_stop_reason(const ReplyFacts&, const v1::ChatFinished&, std::string*);

}  // namespace mimo::http
