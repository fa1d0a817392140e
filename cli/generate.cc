#include <google/protobuf/util/json_util.h>

#include <cstdio>
#include <iostream>
#include <iterator>
#include <map>
#include <string>

#include "cli/client.h"
#include "cli/commands.h"

namespace mimo::cli {
namespace {

// Writes what comes to standard output: text as it streams (several outputs: each when it is done),
// or one JSON event a line.
class Printer {
 public:
  explicit Printer(const GenerateOptions& options)
      : json_(options.json), many_(options.sampling.num_sequences.value_or(1) > 1) {}

  bool operator()(const v1::GenerateResponse& response) {
    finished_ = finished_ || response.has_finished();
    if (json_) return print_json(response);
    if (response.has_token()) add(response.token().output_index(), response.token().text());
    if (response.has_finished()) finish(response.finished());
    return true;
  }
  bool finished() const { return finished_; }

 private:
  static bool print_json(const v1::GenerateResponse& response) {
    google::protobuf::util::JsonPrintOptions options;
    options.preserve_proto_field_names = true;
    std::string line;
    if (!google::protobuf::util::MessageToJsonString(response, &line, options).ok()) return false;
    std::printf("%s\n", line.c_str());
    return std::fflush(stdout) == 0;
  }

  void add(int32_t output, const std::string& text) {
    if (many_) {
      texts_[output] += text;
      return;
    }
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
  }

  void finish(const v1::FinishedEvent& event) {
    add(event.output_index(), event.text());
    if (many_) std::printf("[%d] %s", event.output_index(), texts_[event.output_index()].c_str());
    std::printf("\n");
    std::fflush(stdout);
  }

  const bool json_;
  const bool many_;
  bool finished_ = false;
  std::map<int32_t, std::string> texts_;
};

}  // namespace

int run_generate(const GenerateOptions& options) {
  v1::GenerateRequest request = make_request(options.sampling);
  if (!options.token_ids.empty() && options.prompt) {
    return fail(invalid_argument("--prompt and --token-ids: expected one of them"));
  }
  if (!options.token_ids.empty()) {
    for (const int32_t id : options.token_ids) request.mutable_token_ids()->add_ids(id);
  } else if (options.prompt) {
    request.set_text(*options.prompt);
  } else {
    request.set_text(std::string(std::istreambuf_iterator<char>(std::cin), {}));
  }
  if (options.logprobs) request.mutable_response()->set_output_candidates(*options.logprobs);
  if (options.special_tokens) request.mutable_response()->set_include_special_tokens(true);
  Client client(options.server);
  Printer printer(options);
  const auto done = client.generate(request, options.timeout_s, std::ref(printer));
  if (!done.ok()) return fail(Error{done.error().code, done.error().to_string()});
  if (printer.finished()) return 0;
  return fail(internal_error("the stream ended with OK and without a finished event"));
}

}  // namespace mimo::cli
