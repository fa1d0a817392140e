#include "cli/line_source.h"

#include <iostream>

namespace mimo::cli {

LineEditor::Line LineSource::next(const std::string& prompt) {
  LineEditor::Line whole;
  if (editor_ == nullptr) {
    if (!std::getline(std::cin, whole.text)) whole.end = LineEditor::End::kEndOfInput;
    return whole;
  }
  const std::string more = std::string(prompt.size() - 1, '.') + " ";
  for (bool first = true;; first = false) {
    LineEditor::Line line = editor_->read(first ? prompt : more);
    if (line.end != LineEditor::End::kLine) return line;
    whole.text += line.text;
    if (whole.text.empty() || whole.text.back() != '\\') return whole;
    whole.text.back() = '\n';
  }
}

}  // namespace mimo::cli
