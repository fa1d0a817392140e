#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <optional>

#include "cli/chat_client.h"
#include "cli/chat_command.h"
#include "cli/chat_printer.h"
#include "cli/chat_tools.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/conversation.h"
#include "cli/interrupt.h"
#include "cli/line_source.h"

namespace mimo::cli {
namespace {

constexpr double kGreetingTimeoutS = 10;

// One chat: what its user says, the answers, and what is between them.
class Chat {
 public:
  Chat(const ChatOptions& options, Conversation conversation, LineSource lines,
       const ChatPrinter::Options& printing)
      : options_(options),
        conversation_(std::move(conversation)),
        lines_(std::move(lines)),
        printer_(printing, stdout),
        client_(options.server) {}

  // Until its user leaves. At a terminal an error is shown and the chat goes on, elsewhere it ends.
  Result<void> run();

 private:
  // False when the user leaves.
  Result<bool> turn(const std::string& line);
  Result<void> answer();
  void obey(const ChatCommand& command);
  std::string prompt() const;
  void show(const Error& error);

  const ChatOptions& options_;
  Conversation conversation_;
  LineSource lines_;
  ChatPrinter printer_;
  ChatClient client_;
};

std::string Chat::prompt() const {
  const v1::ToolCall* call = conversation_.open_call();
  return call == nullptr ? "> " : harmless(call->name()) + " gives> ";
}

void Chat::show(const Error& error) {
  std::fprintf(stderr, "mimo: %s\n", harmless(error.to_string()).c_str());
}

Result<void> Chat::run() {
  for (;;) {
    const LineEditor::Line line = lines_.next(prompt());
    if (line.end == LineEditor::End::kEndOfInput) return {};
    if (line.end == LineEditor::End::kInterrupted) continue;
    const Result<bool> stays = turn(line.text);
    if (!stays.ok() && !lines_.interactive()) return stays.error();
    if (!stays.ok()) show(stays.error());
    if (stays.ok() && !stays.value()) return {};
  }
}

Result<bool> Chat::turn(const std::string& line) {
  if (line.find_first_not_of(" \t\r\n") == std::string::npos) return true;
  TRY_ASSIGN(const ChatCommand command, parse_chat_line(line));
  if (command.kind == ChatCommand::Kind::kExit) return false;
  if (command.kind != ChatCommand::Kind::kSay) {
    obey(command);
    return true;
  }
  conversation_.say(command.text);
  if (conversation_.open_call() != nullptr) return true;
  TRY(answer());
  return true;
}

void Chat::obey(const ChatCommand& command) {
  switch (command.kind) {
    case ChatCommand::Kind::kReset:
      conversation_.reset();
      return printer_.note("Nothing was said yet.");
    case ChatCommand::Kind::kShowSystem:
      return printer_.note(conversation_.system().empty() ? "No system prompt is set."
                                                          : conversation_.system());
    case ChatCommand::Kind::kSetSystem:
      conversation_.set_system(command.text);
      return printer_.note(command.text.empty() ? "The system prompt is removed."
                                                : "The system prompt is set.");
    case ChatCommand::Kind::kThink:
      conversation_.set_thinking(command.think);
      return printer_.note(command.think ? "Thinking is on." : "Thinking is off.");
    case ChatCommand::Kind::kTemperature:
      conversation_.set_temperature(command.temperature);
      return printer_.note("The temperature is set.");
    case ChatCommand::Kind::kHelp:
      std::fputs(std::string(chat_help()).c_str(), stdout);
      std::fflush(stdout);
      return;
    case ChatCommand::Kind::kSay:
    case ChatCommand::Kind::kExit:
      return;
  }
}

// "31 tokens, 0.42 s, 74 tokens/s", and why the answer ends before its end.
std::string summary(const v1::Usage& usage, v1::ChatFinished::Reason reason, double seconds) {
  char text[96];
  std::snprintf(text, sizeof(text), "%d tokens, %.2f s, %.0f tokens/s", usage.completion_tokens(),
                seconds, usage.completion_tokens() / std::max(seconds, 1e-3));
  std::string line = text;
  if (reason == v1::ChatFinished::LENGTH) line += "; the most tokens are reached";
  if (reason == v1::ChatFinished::CANCELLED) line += "; cancelled by the server";
  return line;
}

Result<void> Chat::answer() {
  ChatClient::Call call(client_, options_.timeout_s);
  std::unique_ptr<Interrupt> interrupt;
  if (lines_.interactive()) {
    TRY_ASSIGN(interrupt, Interrupt::create([&call] { call.cancel(); }));
  }
  const auto start = std::chrono::steady_clock::now();
  v1::ChatMessage reply;
  v1::ChatFinished finished;
  v1::Usage usage;
  Result<void> whole = Result<void>();
  const auto take = [&](const v1::ChatDelta& delta) {
    if (whole.ok()) whole = add_delta(delta, reply);
    if (whole.ok()) printer_.delta(delta);
  };
  const auto done = call.complete(conversation_.request(), [&](const v1::ChatResponse& response) {
    if (response.has_delta()) take(response.delta());
    if (response.has_finished()) {
      finished = response.finished();
      take(finished.last());
    }
    if (response.has_usage()) usage = response.usage();
  });
  interrupt.reset();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  const bool stopped = !done.ok() && done.error().code == Code::kCancelled;
  if (whole.ok() && !done.ok() && !stopped) whole = done.error();
  if (whole.ok() && done.ok() && finished.reason() == v1::ChatFinished::REASON_UNSPECIFIED) {
    whole = internal_error("the stream ended with OK and without a finished event");
  }
  printer_.finish(!whole.ok() ? ""
                  : stopped   ? "stopped"
                              : summary(usage, finished.reason(), took.count()));
  // Half a call is none; what was read stays said.
  if (stopped || !whole.ok()) reply.clear_tool_calls();
  if (whole.ok() && !(stopped && reply.content().empty())) {
    conversation_.answered(reply);
  } else {
    conversation_.withdraw();
  }
  return whole;
}

Result<v1::ChatRequest> settings(const ChatOptions& options) {
  const v1::GenerateRequest sampled = make_request(options.sampling);
  v1::ChatRequest request;
  *request.mutable_sampling() = sampled.sampling();
  *request.mutable_stopping() = sampled.stopping();
  if (options.think) request.set_enable_thinking(*options.think);
  if (!options.tools.empty()) {
    TRY_ASSIGN(const std::vector<v1::Tool> tools, read_tools(options.tools));
    for (const v1::Tool& tool : tools) *request.add_tools() = tool;
  }
  return request;
}

Result<void> chat(const ChatOptions& options, const ChatEnvironment& environment) {
  TRY_ASSIGN(v1::ChatRequest request, settings(options));
  const bool terminal = isatty(STDOUT_FILENO) == 1;
  const bool colour = terminal && environment.colour;
  std::unique_ptr<LineEditor> editor;
  if (terminal && isatty(STDIN_FILENO) == 1) {
    hold_interrupts();
    const std::string file =
        environment.home.empty() ? std::string() : environment.home + "/.mimo_history";
    TRY_ASSIGN(editor, LineEditor::create(options.history.value_or(file), colour));
  }
  const ChatPrinter::Options printing{editor != nullptr, colour,
                                      options.show_reasoning.value_or(terminal)};
  TRY_ASSIGN(const v1::ModelInfo model, Client(options.server).model_info(kGreetingTimeoutS));
  ChatPrinter(printing, stdout)
      .note(model.model() + " at " + options.server + "; /help lists commands, Ctrl-D leaves");
  return Chat(options, Conversation(std::move(request), options.system),
              LineSource(std::move(editor)), printing)
      .run();
}

}  // namespace

int run_chat(const ChatOptions& options, const ChatEnvironment& environment) {
  const auto done = chat(options, environment);
  if (done.ok()) return 0;
  return fail(Error{done.error().code, done.error().to_string()});
}

}  // namespace mimo::cli
