#include "coordinator/sessions/sessions.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <mutex>
#include <random>
#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "coordinator/sessions/guarded.h"

namespace mimo::coordinator {
namespace {

// Up to here the encoder takes a few milliseconds at most, and a thread's wake is not worth it.
constexpr size_t kInlineTextBytes = 4096;
// The same of a prompt's copies, one an output: 256 KB of ids.
constexpr size_t kInlineIds = 65536;

bool is_small(const GenerateSpec& spec) {
  // A text has no more ids than bytes.
  const size_t num_ids = spec.is_text ? spec.text.size() : spec.prompt.size();
  return spec.text.size() <= kInlineTextBytes &&
         num_ids * static_cast<size_t>(spec.num_sequences) <= kInlineIds;
}

uint64_t random_u64() {
  std::random_device device;
  return (static_cast<uint64_t>(device()) << 32) | device();
}

const char* finished_reason(v1::FinishReason reason, bool failed) {
  if (reason == v1::FINISH_REASON_STOP) return "stop";
  if (reason == v1::FINISH_REASON_LENGTH) return "length";
  return failed && reason == v1::FINISH_REASON_UNSPECIFIED ? "error" : "abort";
}

}  // namespace

Sessions::Sessions(Options options, const text::Tokenizer* tokenizer, Admission& admission,
                   RequestProbe& probe, const Clock& clock)
    : options_(std::move(options)),
      tokenizer_(tokenizer),
      admission_(admission),
      probe_(probe),
      clock_(clock),
      id_base_(random_u64()),
      tokenizers_(options_.tokenizer_threads, /*queue_max=*/65536) {
  CHECK_LE(options_.limits.num_sequences_max, kOutputsMax);
  CHECK_EQ(options_.limits.has_tokenizer, tokenizer != nullptr);
}

void Sessions::attach(LeaderClient& leader, std::function<std::string()> why_not) {
  leader_ = &leader;
  why_not_ = std::move(why_not);
}

LeaderSink Sessions::sink() {
  LeaderSink sink;
  sink.on_events = [this](const v1::LeaderEvents& events) { on_events(events); };
  sink.on_lost = [this](const Error& error) { on_lost(error); };
  sink.on_serving = [this](int64_t) { serving_.store(true, std::memory_order_release); };
  return sink;
}

std::string Sessions::fresh_id() {
  char text[48];
  std::snprintf(text, sizeof text, "mimo-%016" PRIx64 "-%" PRIu64, id_base_, ++num_fresh_ids_);
  return text;
}

// --- Opening -----------------------------------------------------------------------------------

std::optional<RequestError> Sessions::admit(const v1::GenerateRequest& request,
                                            const std::shared_ptr<LiveSession>& live) {
  auto spec = parse_request(request, options_.limits, random_u64());
  if (!spec.ok()) return request_error(spec.error());
  live->spec = std::move(spec).value();
  live->request_id = live->spec.request_id.empty() ? fresh_id() : live->spec.request_id;
  live->outbox = Outbox(live->request_id);
  if (!admission_.closed() && !serving())
    return group_error(unavailable("no group serves: " + why_not_()));
  const int32_t num_sequences = live->spec.num_sequences;
  if (auto refused = admission_.enter(num_sequences)) return refused;
  if (auto added = table_.add(live); !added.ok()) {
    admission_.leave(num_sequences);
    return request_error(added.error());
  }
  live->num_sequences = num_sequences;
  return std::nullopt;
}

void Sessions::open(const v1::GenerateRequest& request, const std::shared_ptr<LiveSession>& live) {
  CHECK(leader_ != nullptr);
  live->opened_ns = clock_.now_ns();
  if (auto refused = admit(request, live)) return refuse(*live, std::move(*refused));
  if (is_small(live->spec)) return launch(live);
  if (!tokenizers_.post([this, live] { launch(live); }))
    refuse(*live, admission_.overloaded("too many prompts wait for the tokenizer"));
}

Result<void> Sessions::prepare(LiveSession* live, std::vector<v1::Submit>* submits) {
  // Only this thread looks at the spec, so the encoder runs without the mutex.
  GenerateSpec& spec = live->spec;
  if (spec.is_text) {
    TRY_ASSIGN(spec.prompt, tokenizer_->encode(spec.text));
    spec.text.clear();
  }
  TRY(check_prompt(options_.limits, &spec));
  probe_.prompt_read(static_cast<int32_t>(spec.prompt.size()));
  const int32_t num_sequences = spec.num_sequences;
  TRY_ASSIGN(Session session,
             Session::create(std::move(spec), first_sequence_id(live->number), tokenizer_));
  for (int32_t i = 0; i < num_sequences; ++i) submits->push_back(session.submit(i));

  std::lock_guard lock(live->mutex);
  if (live->state == LiveSession::State::kClosed) {
    submits->clear();
    return {};
  }
  live->last_token_ns.assign(static_cast<size_t>(num_sequences), 0);
  live->session.emplace(std::move(session));
  live->session->start(&live->outbox);
  return {};
}

Result<void> Sessions::submit_all(std::vector<v1::Submit> submits) {
  std::vector<int64_t> submitted;
  for (v1::Submit& submit : submits) {
    const int64_t sequence_id = submit.sequence_id();
    auto result = leader_->submit(std::move(submit));
    if (!result.ok()) {
      cancel(submitted);
      return result;
    }
    submitted.push_back(sequence_id);
  }
  return {};
}

void Sessions::launch(const std::shared_ptr<LiveSession>& live) {
  std::vector<v1::Submit> submits;
  const auto prepared = guarded("a prompt", [&] { return prepare(live.get(), &submits); });
  if (!prepared || !prepared->ok())
    return refuse(*live, request_error(prepared ? prepared->error() : failed_inside()));
  if (submits.empty()) return;  // closed meanwhile

  std::vector<int64_t> sequences;
  for (const v1::Submit& submit : submits) sequences.push_back(submit.sequence_id());
  if (auto submitted = submit_all(std::move(submits)); !submitted.ok())
    return refuse(*live, group_error(submitted.error()));

  {
    LockedSession locked(*live);
    if (locked->state == LiveSession::State::kOpening) {
      locked->state = LiveSession::State::kRunning;
      return locked.wake();
    }
  }
  cancel(sequences);  // closed meanwhile, when the leader did not know them all
}

RequestError Sessions::group_error(Error error) const {
  RequestError refused = request_error(std::move(error));
  if (refused.code == v1::ERROR_CODE_OVERLOADED)
    refused.retry_after_ms = admission_.overloaded("").retry_after_ms;
  if (refused.code == v1::ERROR_CODE_UNAVAILABLE) refused.retry_after_ms = 1000;
  return refused;
}

void Sessions::refuse(LiveSession& live, RequestError error) {
  LockedSession locked(live);
  if (live.state == LiveSession::State::kClosed) return;
  probe_.refused(error.code);
  live.session.reset();
  live.outbox = Outbox(live.request_id);
  live.bare_error = error.retryable;
  close(locked, std::move(error), nullptr);
}

// --- Ending ------------------------------------------------------------------------------------

void Sessions::close(LockedSession& live, std::optional<RequestError> error,
                     std::vector<int64_t>* cancels) {
  CHECK(live->state != LiveSession::State::kClosed);
  live->state = LiveSession::State::kClosed;
  live->closed_ns = clock_.now_ns();
  v1::Usage usage;
  if (live->session) {
    if (cancels != nullptr)
      for (const int64_t sequence : live->session->live_sequences()) cancels->push_back(sequence);
    usage = live->session->usage();
  }
  if (error && !live->bare_error) live->outbox.put_error(error->event(), usage);
  live->error = std::move(error);
  if (live->session) count_closed(*live);
  table_.free_id(*live);
  live.wake();
}

void Sessions::count_closed(const LiveSession& live) const {
  const Session& session = *live.session;
  const bool aborted = live.error && live.error->code == v1::ERROR_CODE_CANCELLED;
  for (int32_t i = 0; i < session.num_outputs(); ++i) {
    const int32_t num_tokens = session.num_tokens(i);
    const double drawing_s =
        static_cast<double>(live.last_token_ns[static_cast<size_t>(i)] - live.first_token_ns) *
        1e-9;
    probe_.output_finished(finished_reason(session.reason(i), live.error && !aborted), num_tokens,
                           num_tokens > 1 ? std::max(drawing_s, 0.0) / (num_tokens - 1) : 0.0);
  }
  const double seconds = static_cast<double>(live.closed_ns - live.opened_ns) * 1e-9;
  probe_.request_finished(seconds, session.usage().prompt_tokens());
}

void Sessions::cancel(const std::vector<int64_t>& sequences) {
  for (const int64_t sequence : sequences) leader_->cancel(sequence);
}

void Sessions::gone(LiveSession& live) {
  std::vector<int64_t> cancels;
  {
    LockedSession locked(live);
    if (live.state == LiveSession::State::kClosed) return;
    close(locked, request_error({Code::kCancelled, "the client has gone"}), &cancels);
  }
  cancel(cancels);
}

void Sessions::done(LiveSession& live) {
  {
    std::lock_guard lock(live.mutex);
    live.writer = nullptr;
  }
  if (live.num_sequences == 0) return;
  table_.remove(live);
  admission_.leave(live.num_sequences);
}

int32_t Sessions::abort(const std::optional<std::string>& request_id) {
  std::vector<std::shared_ptr<LiveSession>> targets;
  if (!request_id) {
    targets = table_.all();
  } else if (auto live = table_.find_id(*request_id)) {
    targets.push_back(std::move(live));
  }
  int32_t num_aborted = 0;
  std::vector<int64_t> cancels;
  for (const auto& live : targets) {
    LockedSession locked(*live);
    if (live->state == LiveSession::State::kClosed) continue;
    std::vector<int64_t> sequences;
    if (live->session) {
      sequences = live->session->live_sequences();
      live->session->cancel_outputs(&live->outbox);
    }
    cancels.insert(cancels.end(), sequences.begin(), sequences.end());
    close(locked, request_error({Code::kCancelled, "aborted on request"}), nullptr);
    ++num_aborted;
  }
  cancel(cancels);
  return num_aborted;
}

void Sessions::close_all(const RequestError& error, std::vector<int64_t>* cancels) {
  for (const auto& live : table_.all()) {
    LockedSession locked(*live);
    if (live->state != LiveSession::State::kClosed) close(locked, error, cancels);
  }
}

void Sessions::stop(const RequestError& error) {
  CHECK(admission_.closed());
  std::vector<int64_t> cancels;
  close_all(error, &cancels);
  tokenizers_.stop();
  cancel(cancels);
}

void Sessions::reap() {
  const int64_t now_ns = clock_.now_ns();
  const auto grace_ns = static_cast<int64_t>(options_.reader_grace_s * 1e9);
  for (const auto& live : table_.all()) {
    std::lock_guard lock(live->mutex);
    const bool late =
        live->state == LiveSession::State::kClosed && now_ns - live->closed_ns > grace_ns;
    if (late && live->writer != nullptr) live->writer->cut();
  }
}

Sessions::Load Sessions::load() const {
  Load load;
  for (const auto& live : table_.all()) {
    std::lock_guard lock(live->mutex);
    ++load.num_streams;
    if (live->state == LiveSession::State::kClosed || !live->session) continue;
    const int64_t tokens = live->session->usage().total_tokens();
    (live->first_token_ns > 0 ? load.running_tokens : load.waiting_tokens) += tokens;
  }
  return load;
}

// --- The leader's answers ----------------------------------------------------------------------

void Sessions::on_events(const v1::LeaderEvents& events) {
  const int64_t now_ns = clock_.now_ns();
  std::vector<int64_t> cancels;
  int64_t num_tokens = 0;
  for (const v1::LeaderEvent& event : events.events()) {
    num_tokens += event.tokens_size();
    on_event(event, now_ns, &cancels);
  }
  probe_.tokens_drawn(num_tokens);
  // Written when all of a step is there: one write a stream, however many outputs it has.
  for (const auto& live : touched_) {
    LockedSession locked(*live);
    live->touched = false;
    if (live->state != LiveSession::State::kOpening) locked.wake();
  }
  touched_.clear();
  cancel(cancels);
}

void Sessions::on_event(const v1::LeaderEvent& event, int64_t now_ns,
                        std::vector<int64_t>* cancels) {
  std::shared_ptr<LiveSession> live = table_.find_number(session_number(event.sequence_id()));
  if (live == nullptr) return;
  LockedSession locked(*live);
  if (live->state == LiveSession::State::kClosed || !live->session) return;
  const int64_t output_idx = event.sequence_id() - first_sequence_id(live->number);
  if (output_idx >= live->session->num_outputs()) return;

  if (event.tokens_size() > 0)
    time_tokens(*live, static_cast<int32_t>(output_idx), event.tokens_size(), now_ns);
  auto result = live->session->on_event(event, &live->outbox, cancels);
  if (!result.ok()) return close(locked, group_error(result.error()), cancels);
  if (live->session->ended()) return close(locked, std::nullopt, nullptr);
  if (live->outbox.token_bytes() > options_.stream_bytes_max) {
    RequestError slow = request_error(
        {Code::kResourceExhausted,
         "reader too slow: " + std::to_string(live->outbox.token_bytes()) +
             " bytes wait, the most is " + std::to_string(options_.stream_bytes_max)});
    slow.retryable = false;  // the same reader would end the same way
    log_warning("reader_too_slow", {{"request_id", live->request_id}});
    return close(locked, std::move(slow), cancels);
  }
  if (live->touched) return;
  live->touched = true;
  touched_.push_back(live);
}

void Sessions::time_tokens(LiveSession& live, int32_t output_idx, int32_t num_tokens,
                           int64_t now_ns) {
  int64_t& last_ns = live.last_token_ns[static_cast<size_t>(output_idx)];
  if (live.first_token_ns == 0) {
    live.first_token_ns = now_ns;
    probe_.first_token(static_cast<double>(now_ns - live.opened_ns) * 1e-9);
  } else if (last_ns > 0) {
    const double each_s = static_cast<double>(now_ns - last_ns) * 1e-9 / num_tokens;
    for (int32_t i = 0; i < num_tokens; ++i) probe_.next_token(each_s);
  }
  last_ns = now_ns;
}

void Sessions::on_lost(const Error& error) {
  serving_.store(false, std::memory_order_release);
  // The sequences have ended with their group: there is nobody to cancel them at.
  close_all(group_error(unavailable("the group was lost: " + error.message)), nullptr);
}

}  // namespace mimo::coordinator
