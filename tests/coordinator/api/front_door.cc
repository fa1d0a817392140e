#include "tests/coordinator/api/front_door.h"

#include "coordinator/chat/template_files.h"
#include "mimo/v1/rpc_status.pb.h"

namespace mimo::coordinator {
namespace {

Sessions::Options with_tokenizer(Sessions::Options options, bool has_tokenizer) {
  options.limits.has_tokenizer = has_tokenizer;
  return options;
}

std::unique_ptr<text::Tokenizer> make_tokenizer(const FrontDoor::Options& wanted) {
  if (!wanted.with_tokenizer) return nullptr;
  if (wanted.tokenizer_json.empty()) return byte_tokenizer();
  return text::Tokenizer::load(wanted.tokenizer_json).value();
}

std::unique_ptr<chat::Prompter> make_prompter(const FrontDoor::Options& wanted) {
  if (!wanted.template_folder.empty()) return chat::Prompter::load(wanted.template_folder).value();
  if (wanted.chat_template.empty()) return nullptr;
  chat::TemplateFiles files;
  files.main = wanted.chat_template;
  return chat::Prompter::create(files).value();
}

}  // namespace

FrontDoor::Options FrontDoor::with_chat() {
  Options with_chat = options();
  with_chat.chat_template =
      "{%- for message in messages %}"
      "{%- if message.role == 'refused' %}{{ raise_exception('this role is refused') }}{% endif %}"
      "{{- message.content }}{%- endfor %}";
  return with_chat;
}

FrontDoor::FrontDoor(const Options& wanted)
    : tokenizer(make_tokenizer(wanted)),
      prompter(make_prompter(wanted)),
      engine(wanted.engine),
      admission(wanted.admission, clock),
      probe(*registry, wanted.sessions.limits.model, wanted.sessions.limits.positions_max),
      sessions(with_tokenizer(wanted.sessions, wanted.with_tokenizer), tokenizer.get(), admission,
               probe, clock) {
  facts.model.set_model(wanted.sessions.limits.model);
  facts.model.set_vocab_size(wanted.sessions.limits.vocab_limit);
  facts.model.set_max_positions(wanted.sessions.limits.positions_max);
  for (const int32_t id : wanted.sessions.limits.eos_ids) facts.model.add_eos_token_ids(id);
  facts.server.set_role("both");
  facts.status = [this] { return engine.status(); };
  sessions.attach(engine, [this] { return engine.status().reason; });
  if (wanted.connected) engine.connect(sessions.sink());
  server =
      ApiServer::create(wanted.api, facts, sessions, admission, clock,
                        {prompter.get(), tokenizer.get(), wanted.sessions.limits.prompt_bytes_max})
          .value();
}

FrontDoor::~FrontDoor() {
  admission.close();
  sessions.stop(draining_error());
  server->stop(1.0);
  engine.stop();  // it lives longer than what it delivers to
}

std::unique_ptr<v1::Inference::Stub> FrontDoor::stub(int32_t read_window_bytes) const {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // a connection of its own
  arguments.SetMaxReceiveMessageSize(-1);
  if (read_window_bytes > 0) {
    arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, read_window_bytes);
    arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  }
  return v1::Inference::NewStub(
      grpc::CreateCustomChannel(server->address(), grpc::InsecureChannelCredentials(), arguments));
}

Call::Call(v1::Inference::Stub& stub, const v1::GenerateRequest& request,
           std::chrono::milliseconds deadline) {
  context_.set_deadline(std::chrono::system_clock::now() + deadline);
  reader_ = stub.Generate(&context_, request);
}

bool Call::read() {
  if (!reader_->Read(&message)) return false;
  record.add(message);
  return true;
}

const grpc::Status& Call::finish() {
  if (finished_) return status_;
  while (read()) continue;
  status_ = reader_->Finish();
  finished_ = true;
  return status_;
}

std::string Call::trailer(const std::string& name) const {
  const auto& trailers = context_.GetServerTrailingMetadata();
  const auto found = trailers.find(name);
  return found == trailers.end() ? "" : std::string(found->second.data(), found->second.size());
}

double Call::retry_after_s() const {
  v1::RpcStatus details;
  details.ParseFromString(status_.error_details());
  for (const auto& any : details.details()) {
    if (any.type_url() != "type.googleapis.com/google.rpc.RetryInfo") continue;
    v1::RpcRetryInfo retry;
    retry.ParseFromString(any.value());
    return static_cast<double>(retry.retry_delay().seconds()) +
           static_cast<double>(retry.retry_delay().nanos()) * 1e-9;
  }
  return -1;
}

v1::ErrorEvent Call::status_event() const {
  v1::RpcStatus details;
  details.ParseFromString(status_.error_details());
  v1::ErrorEvent event;
  for (const auto& any : details.details())
    if (any.type_url() == "type.googleapis.com/mimo.v1.ErrorEvent")
      event.ParseFromString(any.value());
  return event;
}

v1::GenerateRequest text_request(const std::string& text, int32_t max_tokens) {
  v1::GenerateRequest request;
  request.set_text(text);
  request.mutable_stopping()->set_max_tokens(max_tokens);
  return request;
}

}  // namespace mimo::coordinator
