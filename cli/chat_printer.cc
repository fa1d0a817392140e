#include "cli/chat_printer.h"

namespace mimo::cli {
namespace {

constexpr const char* kPlain = "\033[0m";
constexpr const char* kDim = "\033[2m";
constexpr const char* kCall = "\033[36m";

// U+2400 + n shows the control character n, U+2421 shows DEL.
std::string picture(unsigned char control) {
  return std::string("\xe2\x90") + static_cast<char>(control == 0x7f ? 0xa1 : 0x80 + control);
}

}  // namespace

std::string harmless(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const auto next = i + 1 < text.size() ? static_cast<unsigned char>(text[i + 1]) : 0;
    if ((byte < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7f) {
      out += picture(byte);
    } else if (byte == 0xc2 && next >= 0x80 && next < 0xa0) {
      out += "\xef\xbf\xbd";  // U+0080 to U+009F: some terminals obey them as ESC and a letter
      ++i;
    } else {
      out += text[i];
    }
  }
  return out;
}

void ChatPrinter::delta(const v1::ChatDelta& delta) {
  if (options_.reasoning && !delta.reasoning_content().empty()) {
    enter(Part::kReasoning);
    write(delta.reasoning_content());
  }
  if (!delta.content().empty()) {
    enter(Part::kContent);
    write(delta.content());
  }
  for (const v1::ToolCallDelta& part : delta.tool_calls()) call(part);
  std::fflush(out_);
}

void ChatPrinter::finish(std::string_view note) {
  enter(Part::kNone);
  if (options_.terminal) this->note(note);
  std::fflush(out_);
}

void ChatPrinter::note(std::string_view text) {
  if (!options_.terminal || text.empty()) return;
  style(kDim);
  std::fprintf(out_, "%s", harmless(text).c_str());
  style(kPlain);
  std::fprintf(out_, "\n");
  std::fflush(out_);
}

void ChatPrinter::enter(Part part) {
  if (part == part_) return;
  if (part_ == Part::kReasoning || part_ == Part::kCall) style(kPlain);
  if (line_open_) std::fputc('\n', out_);
  line_open_ = false;
  if (part_ == Part::kReasoning && part != Part::kNone) std::fputc('\n', out_);
  if (part == Part::kReasoning) style(kDim);
  if (part == Part::kCall) style(kCall);
  part_ = part;
  if (part == Part::kNone) call_ = -1;
}

void ChatPrinter::write(std::string_view text) {
  const std::string shown = options_.terminal ? harmless(text) : std::string(text);
  std::fwrite(shown.data(), 1, shown.size(), out_);
  line_open_ = shown.empty() ? line_open_ : shown.back() != '\n';
}

void ChatPrinter::style(const char* sequence) {
  if (options_.colour) std::fputs(sequence, out_);
}

void ChatPrinter::call(const v1::ToolCallDelta& part) {
  enter(Part::kCall);
  if (part.index() != call_) {
    if (line_open_) write("\n");
    call_ = part.index();
    write("-> " + part.name() + " ");
  }
  write(part.arguments());
}

}  // namespace mimo::cli
