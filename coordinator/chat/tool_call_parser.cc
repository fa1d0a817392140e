#include "coordinator/chat/tool_call_parser.h"

#include <algorithm>

#include "coordinator/chat/argument_value.h"
#include "coordinator/chat/markup.h"

namespace mimo::chat {
namespace {

constexpr std::string_view kCallBegin = "<tool_call>";
constexpr std::string_view kCallEnd = "</tool_call>";
constexpr std::string_view kFunctionBegin = "<function=";
constexpr std::string_view kFunctionEnd = "</function>";
constexpr std::string_view kParameterBegin = "<parameter=";
constexpr std::string_view kParameterEnd = "</parameter>";

}  // namespace

void ToolCallParser::push(std::string_view text, ReplyPiece* out) {
  if (tools_.empty()) {
    out->content.append(text);
    return;
  }
  if (one_call_ && num_calls_ > 0) return;
  held_.append(text);
  for (;;) {
    switch (place_ == Place::kText ? step_text(out) : step()) {
      case Step::kOn:
        break;
      case Step::kMore:
        return;
      case Step::kBroken:
        break_call(out);
        break;
      case Step::kWhole:
        give_call(out);
        if (one_call_) return;
        break;
    }
  }
}

void ToolCallParser::finish(ReplyPiece* out) {
  const bool is_separator =
      place_ == Place::kText && drops_blanks_ && num_calls_ > 0 && is_blank(held_);
  if (!is_separator) give_text(held_.size(), out);
  held_.clear();
  place_ = Place::kText;
}

// Gives out the text before the next call.
ToolCallParser::Step ToolCallParser::step_text(ReplyPiece* out) {
  const size_t begin = find_start(held_, kCallBegin, 0);
  const bool waits = drops_blanks_ && is_blank(std::string_view(held_).substr(0, begin));
  call_at_ = waits ? begin : 0;
  if (!waits) give_text(begin, out);
  if (held_.size() - call_at_ < kCallBegin.size()) return Step::kMore;
  open();
  return Step::kOn;
}

void ToolCallParser::open() {
  at_ = call_at_ + kCallBegin.size();
  place_ = Place::kOpened;
  parameters_.clear();
}

ToolCallParser::Step ToolCallParser::step() {
  switch (place_) {
    case Place::kOpened:
      return expect(kFunctionBegin, Place::kName);
    case Place::kName:
      return read_name();
    case Place::kBody:
      return expect_in_body();
    case Place::kKey:
      return read_key();
    case Place::kValue:
      return read_value();
    case Place::kClosing:
    case Place::kText:
      break;
  }
  const Step step = expect(kCallEnd, Place::kText);
  return step == Step::kOn ? Step::kWhole : step;
}

// Blanks, then `tag`.
ToolCallParser::Step ToolCallParser::expect(std::string_view tag, Place next) {
  while (at_ < held_.size() && is_blank(held_[at_])) ++at_;
  switch (match(std::string_view(held_).substr(at_), tag)) {
    case Match::kNo:
      return Step::kBroken;
    case Match::kMaybe:
      return Step::kMore;
    case Match::kYes:
      break;
  }
  at_ += tag.size();
  place_ = next;
  return Step::kOn;
}

ToolCallParser::Step ToolCallParser::expect_in_body() {
  const Step step = expect(kParameterBegin, Place::kKey);
  if (step == Step::kOn) return step;
  // The two tags share their first letter, so either may be what "more" waits for.
  const Step closing = expect(kFunctionEnd, Place::kClosing);
  if (closing == Step::kOn) return closing;
  return step == Step::kMore || closing == Step::kMore ? Step::kMore : Step::kBroken;
}

// Up to `>`, on one line.
ToolCallParser::Step ToolCallParser::read_word(std::string* word) {
  const size_t end = held_.find_first_of("<>\r\n", at_);
  if (end == std::string::npos) return Step::kMore;
  const bool whole = held_[end] == '>' && end > at_;
  *word = held_.substr(at_, end - at_);
  at_ = end;
  if (!whole) return Step::kBroken;
  ++at_;
  return Step::kOn;
}

ToolCallParser::Step ToolCallParser::read_name() {
  std::string name;
  const Step step = read_word(&name);
  if (step != Step::kOn) return step;
  tool_ = tools_.find(name);
  if (tool_ == nullptr) return Step::kBroken;
  place_ = Place::kBody;
  return Step::kOn;
}

ToolCallParser::Step ToolCallParser::read_key() {
  const Step step = read_word(&key_);
  if (step != Step::kOn) return step;
  place_ = Place::kValue;
  value_at_ = at_;
  return Step::kOn;
}

// Up to the first </parameter>. A call that ends before it has lost it, and is broken: the value
// would swallow what comes next.
ToolCallParser::Step ToolCallParser::read_value() {
  const std::string_view held = held_;
  for (at_ = held.find("</", at_); at_ < held.size(); at_ = held.find("</", at_ + 1)) {
    const std::string_view rest = held.substr(at_);
    const Match end = match(rest, kParameterEnd);
    const Match call_end = match(rest, kCallEnd);
    if (end == Match::kYes) {
      parameters_.emplace_back(key_, held.substr(value_at_, at_ - value_at_));
      at_ += kParameterEnd.size();
      place_ = Place::kBody;
      return Step::kOn;
    }
    if (end == Match::kMaybe || call_end == Match::kMaybe) return Step::kMore;
    if (call_end == Match::kNo) continue;
    std::string_view value = held.substr(value_at_, at_ - value_at_);
    while (!value.empty() && is_blank(value.back())) value.remove_suffix(1);
    if (value.ends_with(kFunctionEnd)) return Step::kBroken;
  }
  // The last letter may be the `<` of the next tag.
  at_ = std::max(value_at_, held.size() - (held.ends_with('<') ? 1 : 0));
  return Step::kMore;
}

void ToolCallParser::give_call(ReplyPiece* out) {
  out->calls.push_back({tool_->name, arguments_json(*tool_, parameters_)});
  ++num_calls_;
  held_.erase(0, one_call_ ? held_.size() : at_);
  drops_blanks_ = true;
  place_ = Place::kText;
}

// What broke at at_ is text, up to the last place where a call may begin anew. One that begins
// between can be no call: it would have to get past at_ too.
void ToolCallParser::break_call(ReplyPiece* out) {
  const size_t next = held_.rfind(kCallBegin, at_);
  const bool found = next != std::string::npos && next > call_at_;
  give_text(found ? next : call_at_ + 1, out);
  place_ = Place::kText;
}

void ToolCallParser::give_text(size_t end, ReplyPiece* out) {
  if (end == 0) return;
  out->content.append(held_, 0, end);
  held_.erase(0, end);
  drops_blanks_ = false;
}

}  // namespace mimo::chat
