#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "cli/line_editor.h"

namespace mimo::cli {

// Where a chat's lines come from: a person at a terminal, or a pipe with a message a line.
//
// Thread: one.
class LineSource {
 public:
  // `editor` null: standard input as it comes.
  explicit LineSource(std::unique_ptr<LineEditor> editor) : editor_(std::move(editor)) {}

  bool interactive() const { return editor_ != nullptr; }
  // At a terminal a line that ends in a backslash goes on in the next.
  LineEditor::Line next(const std::string& prompt);

 private:
  std::unique_ptr<LineEditor> editor_;
};

}  // namespace mimo::cli
