#include "cli/line_editor.h"

#include <histedit.h>
#include <langinfo.h>
#include <sys/stat.h>
#include <unistd.h>

#include <clocale>
#include <csignal>
#include <cstring>
#include <cwchar>

#include "base/check.h"

namespace mimo::cli {

struct LineEditor::State {
  EditLine* editor = nullptr;
  History* history = nullptr;
  std::string history_file;
  std::string prompt;
  bool colour = false;
  bool interrupted = false;

  ~State() {
    if (editor != nullptr) el_end(editor);
    if (history != nullptr) history_end(history);
  }
};

namespace {

constexpr int kHistoryLines = 1000;
// What a terminal puts around a pasted text once it was asked to.
constexpr std::wstring_view kPasteEnd = L"\033[201~";
constexpr const char* kAskForMarks = "\033[?2004h";
constexpr const char* kNoMarks = "\033[?2004l";

template <typename State>
State& state_of(EditLine* editor) {
  void* state = nullptr;
  el_get(editor, EL_CLIENTDATA, &state);
  return *static_cast<State*>(state);
}

// The text up to the end mark, as one: its line breaks do not send it.
unsigned char take_paste(EditLine* editor, int) {
  std::wstring text;
  wchar_t next = 0;
  while (text.size() < kPasteEnd.size() ||
         text.compare(text.size() - kPasteEnd.size(), kPasteEnd.size(), kPasteEnd) != 0) {
    if (el_wgetc(editor, &next) != 1) return CC_EOF;
    text += next;
  }
  text.resize(text.size() - kPasteEnd.size());
  std::wstring kept;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == L'\r' && i + 1 < text.size() && text[i + 1] == L'\n') continue;
    const wchar_t c = text[i] == L'\r' ? L'\n' : text[i];
    if (c >= L' ' || c == L'\n' || c == L'\t') kept += c;
  }
  while (!kept.empty() && kept.back() == L'\n') kept.pop_back();
  return el_winsertstr(editor, kept.c_str()) == 0 ? CC_REFRESH : CC_ERROR;
}

unsigned char begin_line(EditLine* editor, int) {
  return el_winsertstr(editor, L"\n") == 0 ? CC_REFRESH : CC_ERROR;
}

void bind_keys(EditLine* editor, unsigned char (*interrupt)(EditLine*, int)) {
  el_set(editor, EL_ADDFN, "mimo-paste", "Insert a pasted text", take_paste);
  el_set(editor, EL_ADDFN, "mimo-line", "Begin a line", begin_line);
  el_set(editor, EL_ADDFN, "mimo-interrupt", "Give this line up", interrupt);
  const char* const keys[][2] = {{"^C", "mimo-interrupt"},     {"\\e[200~", "mimo-paste"},
                                 {"\\e\\r", "mimo-line"},      {"\\e\\n", "mimo-line"},
                                 {"^R", "em-inc-search-prev"}, {"\\e[3~", "ed-delete-next-char"}};
  for (const auto& [key, function] : keys) {
    el_set(editor, EL_BIND, key, function, static_cast<char*>(nullptr));
  }
  // Ctrl-C comes as a key while a line is edited, and as a signal at all other times. A pasted \r\n
  // stays what it is.
  for (const char* mode : {"-isig", "-icrnl", "-inlcr"}) {
    el_set(editor, EL_SETTY, "-d", mode, static_cast<char*>(nullptr));
  }
  // libedit shows its prompt first and takes the terminal then. What is typed until then, or while
  // an answer comes, waits as it is: no Ctrl-D is eaten, no line break made of a return.
  for (const char* mode : {"-icanon", "-echo", "-icrnl"}) {
    el_set(editor, EL_SETTY, "-x", mode, static_cast<char*>(nullptr));
  }
}

// libedit takes its bytes for characters by the locale.
void speak_utf8() {
  std::setlocale(LC_CTYPE, "");
  if (std::strcmp(nl_langinfo(CODESET), "UTF-8") != 0) std::setlocale(LC_CTYPE, "C.UTF-8");
}

// A resize is this thread's to handle, and only while a line is edited.
void let_resizes_in(bool in) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGWINCH);
  CHECK_EQ(pthread_sigmask(in ? SIG_UNBLOCK : SIG_BLOCK, &set, nullptr), 0);
}

void ask_terminal(const char* sequence) {
  std::fputs(sequence, stdout);
  std::fflush(stdout);
}

}  // namespace

Result<std::unique_ptr<LineEditor>> LineEditor::create(std::string history_file, bool colour) {
  speak_utf8();
  let_resizes_in(false);
  auto state = std::make_unique<State>();
  state->history_file = std::move(history_file);
  state->colour = colour;
  state->editor = el_init("mimo", stdin, stdout, stderr);
  state->history = history_init();
  if (state->editor == nullptr || state->history == nullptr) {
    return unavailable("this terminal cannot be edited on");
  }
  EditLine* const editor = state->editor;
  HistEvent event;
  history(state->history, &event, H_SETSIZE, kHistoryLines);
  history(state->history, &event, H_SETUNIQUE, 1);
  if (!state->history_file.empty()) {
    history(state->history, &event, H_LOAD, state->history_file.c_str());
  }
  el_set(editor, EL_CLIENTDATA, state.get());
  el_set(editor, EL_EDITOR, "emacs");
  el_set(editor, EL_HIST, history, state->history);
  el_set(editor, EL_SIGNAL, 1);  // a new window size redraws the line
  el_set(
      editor, EL_PROMPT_ESC, +[](EditLine* e) { return state_of<State>(e).prompt.data(); }, '\1');
  bind_keys(
      editor, +[](EditLine* e, int) -> unsigned char {
        state_of<State>(e).interrupted = true;
        return CC_EOF;
      });
  el_source(editor, nullptr);
  return std::unique_ptr<LineEditor>(new LineEditor(std::move(state)));
}

LineEditor::LineEditor(std::unique_ptr<State> state) : state_(std::move(state)) {}

LineEditor::~LineEditor() = default;

LineEditor::Line LineEditor::read(const std::string& prompt) {
  // libedit leaves out a style at the prompt's very end.
  const size_t end = prompt.find_last_not_of(' ') + 1;
  state_->prompt = prompt;
  if (state_->colour) {
    state_->prompt = "\1\033[1m\1" + prompt.substr(0, end) + "\1\033[0m\1" + prompt.substr(end);
  }
  state_->interrupted = false;
  ask_terminal(kAskForMarks);
  int length = 0;
  let_resizes_in(true);
  const char* const text = el_gets(state_->editor, &length);
  let_resizes_in(false);
  Line line;
  if (text == nullptr || length <= 0) {
    line.end = state_->interrupted ? End::kInterrupted : End::kEndOfInput;
  } else {
    line.text.assign(text, static_cast<size_t>(length));
    if (line.text.back() == '\n') line.text.pop_back();
  }
  ask_terminal(kNoMarks);
  if (line.end != End::kLine) std::fputs("\n", stdout);
  if (!line.text.empty()) remember(line.text);
  return line;
}

void LineEditor::remember(const std::string& line) {
  HistEvent event;
  history(state_->history, &event, H_ENTER, line.c_str());
  if (state_->history_file.empty()) return;
  // What was said is nobody else's to read.
  const mode_t before = umask(S_IRWXG | S_IRWXO);
  history(state_->history, &event, H_SAVE, state_->history_file.c_str());
  umask(before);
}

}  // namespace mimo::cli
