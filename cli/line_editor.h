#pragma once

#include <memory>
#include <string>

#include "base/result.h"

namespace mimo::cli {

// Lines from a terminal, edited by their writer: history, several lines in one (Alt-Enter, or a
// paste), UTF-8. libedit behind it, with the user's own .editrc.
//
// Thread: the one that made it, before there were others (they inherit its signals).
// Invariant: outside of read() the terminal is as it was found.
class LineEditor {
 public:
  enum class End { kLine, kInterrupted, kEndOfInput };
  struct Line {
    End end = End::kLine;
    std::string text;  // without its line break
  };

  // `history_file` is read now and written with each line; empty: none. kUnavailable where the
  // terminal cannot be edited on.
  static Result<std::unique_ptr<LineEditor>> create(std::string history_file, bool colour);
  ~LineEditor();
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;

  Line read(const std::string& prompt);

 private:
  struct State;
  explicit LineEditor(std::unique_ptr<State> state);
  void remember(const std::string& line);

  const std::unique_ptr<State> state_;
};

}  // namespace mimo::cli
