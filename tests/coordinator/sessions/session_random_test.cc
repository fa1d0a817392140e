#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/sessions/session.h"
#include "coordinator/text/detokenizer.h"
#include "coordinator/text/utf8.h"
#include "tests/coordinator/sessions/stream_record.h"
#include "tests/coordinator/text/random_text.h"

namespace mimo::coordinator {
namespace {

using text::pick;

struct Case {
  std::vector<int32_t> ids;
  std::vector<std::string> stops;
  int32_t min_tokens = 0;
  bool include_stop = false;
};

struct Expected {
  std::string text;
  size_t num_tokens = 0;
  std::optional<std::string> stop;
};

// The first stop text that ends behind `from`, by trying every end.
std::optional<std::pair<size_t, std::string>> first_stop(const std::string& all, size_t from,
                                                         const std::vector<std::string>& stops) {
  for (size_t end = from + 1; end <= all.size(); ++end) {
    std::string longest;
    for (const std::string& stop : stops)
      if (end - from >= stop.size() && stop.size() > longest.size() &&
          all.compare(end - stop.size(), stop.size(), stop) == 0)
        longest = stop;
    if (!longest.empty()) return std::make_pair(end, longest);
  }
  return std::nullopt;
}

// The same answer from the whole text, looked through again after every token.
Expected expected_of(const Case& wanted, const text::Tokenizer& tokenizer) {
  text::StreamingDetokenizer detokenizer(tokenizer, {});
  std::string all;
  size_t from = 0;
  const size_t num_steps = wanted.ids.size() + 1;  // the last is the end's flush
  for (size_t n = 1; n <= num_steps; ++n) {
    all += n < num_steps ? detokenizer.push(wanted.ids[n - 1]) : detokenizer.finish();
    const size_t num_tokens = std::min(n, wanted.ids.size());
    while (const auto found = first_stop(all, from, wanted.stops)) {
      const auto& [end, stop] = *found;
      if (num_tokens >= static_cast<size_t>(wanted.min_tokens)) {
        const size_t keep = wanted.include_stop ? end : end - stop.size();
        return {all.substr(0, keep), num_tokens, stop};
      }
      from = end;
    }
  }
  return {all, wanted.ids.size(), std::nullopt};
}

Case random_case(std::mt19937_64& random) {
  // Few letters, so that stops occur, overlap and begin in vain; and bytes of characters, whole and
  // not.
  const std::vector<int32_t> alphabet = {'a', 'a', 'b', 'c', 256, 257, 0xc3, 0xa9, kEnd};
  Case wanted;
  for (int64_t i = pick(random, 0, 24); i > 0; --i)
    wanted.ids.push_back(text::pick_of(random, alphabet));
  for (int64_t i = pick(random, 0, 3); i > 0; --i) {
    std::string stop = text::random_text(random, {"a", "b", "c", "\xc3\xa9"}, 4);
    if (!stop.empty()) wanted.stops.push_back(stop);
  }
  wanted.min_tokens = static_cast<int32_t>(pick(random, 0, 1) * pick(random, 0, 24));
  wanted.include_stop = pick(random, 0, 1) == 1;
  return wanted;
}

StreamRecord run(const Case& wanted, const text::Tokenizer& tokenizer, std::mt19937_64& random) {
  v1::GenerateRequest request;
  request.mutable_token_ids()->add_ids(1);
  request.mutable_stopping()->set_ignore_eos(true);
  request.mutable_stopping()->set_min_tokens(wanted.min_tokens);
  request.mutable_stopping()->set_include_stop_in_output(wanted.include_stop);
  for (const std::string& stop : wanted.stops) request.mutable_stopping()->add_stop_text(stop);
  const RequestLimits limits = small_limits();
  auto spec = parse_request(request, limits, 1).value();
  check_prompt(limits, &spec).value();
  auto session = Session::create(std::move(spec), 0, &tokenizer).value();

  StreamRecord record;
  Outbox outbox("r");
  session.start(&outbox);
  size_t at = 0;
  while (!session.ended()) {
    v1::LeaderEvent event;
    for (int64_t i = pick(random, 0, 3); i > 0 && at < wanted.ids.size(); --i)
      event.add_tokens()->set_id(wanted.ids[at++]);
    if (at == wanted.ids.size()) event.set_finish(2);
    std::vector<int64_t> cancels;
    session.on_event(event, &outbox, &cancels).value();
    // The client reads now and then: what waits meanwhile is one message.
    if (pick(random, 0, 2) == 0) record.drain(&outbox);
  }
  record.drain(&outbox);
  return record;
}

TEST(SessionRandom, EqualsTheWholeTextLookedThroughAfterEveryToken) {
  auto random = text::seeded_random();
  const auto tokenizer = byte_tokenizer();
  int32_t num_stopped = 0;
  for (int32_t i = 0; i < 20'000; ++i) {
    const Case wanted = random_case(random);
    const Expected expected = expected_of(wanted, *tokenizer);

    StreamRecord record = run(wanted, *tokenizer, random);

    const StreamRecord::Output& output = record.outputs[0];
    ASSERT_EQ(output.text, expected.text) << "case " << i;
    ASSERT_EQ(output.ids,
              std::vector<int32_t>(wanted.ids.begin(),
                                   wanted.ids.begin() + static_cast<int64_t>(expected.num_tokens)))
        << "case " << i;
    ASSERT_EQ(output.finished.size(), 1u);
    ASSERT_FALSE(output.spoke_after_end);
    ASSERT_FALSE(record.prompt_late);
    ASSERT_EQ(output.finished[0].reason(),
              expected.stop ? v1::FINISH_REASON_STOP : v1::FINISH_REASON_LENGTH);
    ASSERT_EQ(output.finished[0].stop_text(), expected.stop.value_or("")) << "case " << i;
    ASSERT_EQ(record.usage.completion_tokens(), static_cast<int64_t>(expected.num_tokens));
    ASSERT_EQ(text::find_invalid_utf8(output.text), std::string_view::npos);
    num_stopped += expected.stop ? 1 : 0;
  }
  EXPECT_GT(num_stopped, 2000);
}

}  // namespace
}  // namespace mimo::coordinator
