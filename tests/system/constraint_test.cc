#include <nlohmann/json.hpp>
#include <regex>

#include "checkpoint/checkpoint.h"
#include "checkpoint/token_bytes.h"
#include "tests/system/cluster.h"
#include "tests/system/scrape.h"

// Outputs that are held to constraints, by two real workers over models/tiny and its tokenizer.
namespace mimo::testing {
namespace {

class Constraints : public ClusterTest {
 protected:
  void SetUp() override {
    start_manager({});
    start_worker("a");
    start_worker("b");
    ASSERT_TRUE(log_.wait_serving(1, seconds(20))) << manager_->status().reason;
  }

  // Hot, so that next to nothing of what the model would like stands in the way of wrong tokens.
  void submit_bound(int64_t id, const v1::Constraint& constraint) {
    v1::Submit submit;
    submit.set_sequence_id(id);
    const RecordedCase& record = cases_[static_cast<size_t>(id) % cases_.size()];
    submit.mutable_prompt()->Assign(record.prompt.begin(), record.prompt.end());
    submit.set_temperature(1.5);
    submit.set_top_p(1);
    submit.set_repetition_penalty(1);
    submit.set_seed(static_cast<uint64_t>(id));
    submit.set_max_tokens(200);
    submit.mutable_stop_ids()->Assign(ends_.begin(), ends_.end());
    submit.set_num_logprobs(-1);
    submit.set_num_prompt_logprobs(-1);
    *submit.mutable_constraint() = constraint;
    const Result<void> taken = manager_->submit(std::move(submit));
    ASSERT_TRUE(taken.ok()) << taken.error().to_string();
  }
  // Of a sequence that came to the model's end.
  std::string whole_text(int64_t id) {
    EXPECT_TRUE(log_.wait_finished(id, seconds(20))) << "sequence " << id;
    const EventLog::Sequence sequence = log_.sequence(id);
    EXPECT_EQ(sequence.finish, 1) << "sequence " << id << ": " << sequence.error_message;
    std::string text;
    for (size_t i = 0; i + 1 < sequence.tokens.size(); ++i) {
      text += tokens_.at(static_cast<size_t>(sequence.tokens[i]));
    }
    return text;
  }

  const std::vector<std::string> tokens_ =
      checkpoint::read_token_bytes(model_ + "/tokenizer.json").value();
  const std::vector<int32_t> ends_ = checkpoint::Checkpoint::open(model_).value()->config().eos_ids;
};

TEST_F(Constraints, EveryKindHoldsOnBothRanksAmongOthersThatHaveNone) {
  v1::Constraint choice, regex, schema, grammar;
  choice.mutable_choice()->add_texts("certainly");
  choice.mutable_choice()->add_texts("certainly not");
  regex.set_regex("[a-c]{3,6}-[0-9]{2}");
  schema.set_json_schema(
      R"({"type": "object", "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 99},
          "on": {"type": "boolean"}}, "required": ["n", "on"], "additionalProperties": false})");
  grammar.set_grammar("root ::= \"<\" [x-z]+ \">\" | \"none\"");
  constexpr int64_t kEach = 3;
  ASSERT_NO_FATAL_FAILURE(load(100, 2));
  for (int64_t i = 0; i < kEach; ++i) {
    submit_bound(10 + i, choice);
    submit_bound(20 + i, regex);
    submit_bound(30 + i, schema);
    submit_bound(40 + i, grammar);
  }

  for (int64_t i = 0; i < kEach; ++i) {
    const std::string chosen = whole_text(10 + i);
    EXPECT_TRUE(chosen == "certainly" || chosen == "certainly not") << chosen;
    const std::string matched = whole_text(20 + i);
    EXPECT_TRUE(std::regex_match(matched, std::regex("[a-c]{3,6}-[0-9]{2}"))) << matched;
    const std::string json = whole_text(30 + i);
    const auto value = nlohmann::json::parse(json, nullptr, /*allow_exceptions=*/false);
    ASSERT_TRUE(value.is_object() && value.size() == 2) << json;
    EXPECT_TRUE(value["n"].is_number_integer() && value["on"].is_boolean()) << json;
    EXPECT_TRUE(value["n"] >= 0 && value["n"] <= 99) << json;
    const std::string derived = whole_text(40 + i);
    EXPECT_TRUE(std::regex_match(derived, std::regex("<[x-z]+>|none"))) << derived;
  }
  EXPECT_EQ(log_.num_lost(), 0);
  expect_right_answer(300);
  for (const v1::WorkerInfo& worker : manager_->status().workers) {
    const std::string text = scrape(worker.metrics_address());
    const std::string rank = "{rank=\"" + std::to_string(worker.rank()) + "\"}";
    EXPECT_GT(value(text, "mimo_token_masks_total" + rank), 12 * 3) << text;
    EXPECT_GT(value(text, "mimo_token_mask_seconds_total" + rank), 0) << text;
  }
}

TEST_F(Constraints, OneThatDoesNotCompileIsItsOwnRequestsMistake) {
  v1::Constraint broken;
  broken.set_regex("a(b");
  submit_bound(1, broken);

  ASSERT_TRUE(log_.wait_finished(1, seconds(20)));
  const EventLog::Sequence refused = log_.sequence(1);
  EXPECT_EQ(refused.finish, 4);
  EXPECT_EQ(refused.error_code, static_cast<int32_t>(Code::kInvalidArgument));
  EXPECT_EQ(refused.error_message.rfind("constraint: ", 0), 0u) << refused.error_message;
  expect_right_answer(2);
}

}  // namespace
}  // namespace mimo::testing
