#include "coordinator/http/generation.h"

#include <utility>

#include "coordinator/sessions/guarded.h"

namespace mimo::http {
namespace {

constexpr int64_t kTakeBytesMax = 65536;

ApiError too_large() {
  ApiError error =
      bad_request("stream",
                  "the reply has more bytes than one answer may (api.message_bytes_max): expected "
                  "stream = true, fewer outputs or fewer tokens");
  error.code = "reply_too_large";
  return error;
}

}  // namespace

Generation::~Generation() { end_streams(); }

Headers Generation::headers() const {
  Headers headers;
  const std::string id = request_id_.empty() ? fit_request_id(prepared_.id) : request_id_;
  if (!id.empty()) headers.emplace_back("X-Request-Id", id);
  add_ignored(prepared_.ignored, &headers);
  return headers;
}

void Generation::start(Prepared prepared) {
  if (responder_ == nullptr) return;
  const auto self = shared_from_this();
  prepared_ = std::move(prepared);
  num_open_ = prepared_.requests.size();
  waits_.assign(num_open_, false);
  for (size_t i = 0; i < prepared_.requests.size(); ++i) {
    streams_.push_back(std::make_shared<Stream>(loop_, sessions_, *this, static_cast<int32_t>(i)));
    streams_.back()->open(prepared_.requests[i]);
  }
  prepared_.requests.clear();
}

void Generation::refuse(const ApiError& error) {
  if (responder_ == nullptr) return;
  const auto self = shared_from_this();
  Responder* responder = std::exchange(responder_, nullptr);
  end_streams();
  HttpResponse response = error_response(error);
  if (!request_id_.empty() || !prepared_.id.empty())
    for (auto& header : headers()) response.headers.push_back(std::move(header));
  responder->respond(std::move(response));
}

void Generation::gone() {
  responder_ = nullptr;
  end_streams();
}

void Generation::given_up() {
  if (responder_ != nullptr) responder_->cut();
}

void Generation::end_streams() {
  for (const auto& stream : streams_) stream->end();
}

void Generation::writable() {
  const auto self = shared_from_this();
  // Each in its turn: a first one that always has something would leave the others nothing.
  const size_t first = next_;
  for (size_t k = 0; k < streams_.size(); ++k) {
    if (responder_ == nullptr || responder_->busy()) return;
    const size_t idx = (first + k) % streams_.size();
    if (!waits_[idx]) continue;
    waits_[idx] = false;
    ready(*streams_[idx]);
  }
}

void Generation::ready(Stream& stream) {
  if (responder_ == nullptr || stream.ended()) return;
  const auto self = shared_from_this();
  const auto idx = static_cast<size_t>(stream.prompt_idx());
  const bool streamed = prepared_.reply->streamed();
  if (streamed && responder_->busy()) {
    waits_[idx] = true;
    return;
  }
  out_.clear();
  Stream::Batch batch;
  do {
    batch = stream.take(kTakeBytesMax);
    if (const auto error = take(stream.prompt_idx(), std::move(batch.messages)))
      return fail(*error);
  } while (batch.more && !streamed);
  if (batch.closed) {
    stream.end();
    if (batch.error) return fail(api_error(*batch.error));
    if (--num_open_ == 0) return finish();
  }
  waits_[idx] = batch.more;
  next_ = (idx + 1) % streams_.size();
  if (!out_.empty()) return send(out_);
  if (batch.more) return ready(stream);
}

std::optional<ApiError> Generation::take(int32_t prompt_idx,
                                         std::vector<v1::GenerateResponse> messages) {
  Reply& reply = *prepared_.reply;
  const bool taken = coordinator::guarded("a reply", [&] {
                       for (size_t i = 0; i < messages.size() && !reply.overflowed(); ++i)
                         reply.take(prompt_idx, std::move(messages[i]), &out_);
                       return true;
                     }).has_value();
  if (taken && !reply.overflowed()) return std::nullopt;
  out_.clear();
  return taken ? too_large() : api_error(coordinator::failed_inside());
}

void Generation::send(const std::string& data) {
  if (!begun_) {
    begun_ = true;
    Headers all = headers();
    all.emplace_back("Content-Type", "text/event-stream; charset=utf-8");
    all.emplace_back("Cache-Control", "no-cache");
    all.emplace_back("X-Accel-Buffering", "no");
    responder_->begin_stream(all);
  }
  responder_->write(data);
}

void Generation::finish() {
  const bool whole = coordinator::guarded("a reply", [&] {
                       prepared_.reply->finish(&out_);
                       return true;
                     }).has_value();
  if (!whole) {
    out_.clear();
    return fail(api_error(coordinator::failed_inside()));
  }
  Responder* responder = responder_;
  if (prepared_.reply->streamed()) {
    send(out_);
    responder_ = nullptr;
    return responder->end_stream(/*whole=*/true);
  }
  HttpResponse response;
  response.body = std::move(out_);
  response.headers = headers();
  responder_ = nullptr;
  responder->respond(std::move(response));
}

void Generation::fail(const ApiError& error) {
  if (!begun_) return refuse(error);
  end_streams();
  out_ += "data: " + error_body(error) + "\n\n";
  send(out_);
  Responder* responder = std::exchange(responder_, nullptr);
  responder->end_stream(/*whole=*/false);
}

}  // namespace mimo::http
