#include "coordinator/chat/reply_parser.h"

namespace mimo::chat {

void ReplyParser::push(std::string_view text, ReplyPiece* out) {
  reasoning_.push(text, &out->reasoning, &answer_);
  if (answer_.empty()) return;
  calls_.push(answer_, out);
  answer_.clear();
}

void ReplyParser::finish(ReplyPiece* out) {
  reasoning_.finish(&out->reasoning, &answer_);
  calls_.push(answer_, out);
  answer_.clear();
  calls_.finish(out);
}

}  // namespace mimo::chat
