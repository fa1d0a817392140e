#include "coordinator/http/generation.h"

#include <utility>

namespace mimo::http {
namespace {

constexpr int64_t kTakeBytesMax = 65536;
constexpr size_t kIgnoredShownMax = 16;

// Names from a client, in a header: what could break it is left out.
std::string header_list(const std::vector<std::string>& names) {
  std::string list;
  for (size_t i = 0; i < names.size() && i < kIgnoredShownMax; ++i) {
    std::string name;
    for (const char c : names[i].substr(0, 64))
      if (c > ' ' && c <= '~' && c != ',') name += c;
    list += (list.empty() ? "" : ", ") + name;
  }
  return list;
}

}  // namespace

Generation::~Generation() { end_streams(); }

Headers Generation::headers() const {
  Headers headers;
  headers.emplace_back("X-Request-Id", request_id_.empty() ? prepared_.id : request_id_);
  if (!prepared_.ignored.empty())
    headers.emplace_back("X-Ignored-Fields", header_list(prepared_.ignored));
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
  for (size_t i = 0; i < streams_.size(); ++i) {
    if (responder_ == nullptr || responder_->busy()) return;
    if (!waits_[i]) continue;
    waits_[i] = false;
    ready(*streams_[i]);
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
    for (v1::GenerateResponse& message : batch.messages)
      prepared_.reply->take(stream.prompt_idx(), std::move(message), &out_);
  } while (batch.more && !streamed);
  if (batch.closed) {
    stream.end();
    if (batch.error) return fail(*batch.error);
    if (--num_open_ == 0) return finish();
  }
  waits_[idx] = batch.more;
  if (!out_.empty()) return send(out_);
  if (batch.more) return ready(stream);
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
  prepared_.reply->finish(&out_);
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

void Generation::fail(const coordinator::RequestError& error) {
  if (!begun_) return refuse(api_error(error));
  end_streams();
  out_ += "data: " + error_body(api_error(error)) + "\n\n";
  send(out_);
  Responder* responder = std::exchange(responder_, nullptr);
  responder->end_stream(/*whole=*/false);
}

}  // namespace mimo::http
