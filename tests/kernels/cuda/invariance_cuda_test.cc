#include <iostream>
#include <map>
#include <sstream>

#include "tests/kernels/cuda/invariance_case.h"

// Which numbers of rows give one row the same bits, operation by operation, at the released
// model's shapes.
namespace mimo::kernels::cuda::test {
namespace {

// What decode steps are padded to, and some between.
const std::vector<int32_t> kDecodeRows = {1,  2,  3,  4,  5,  8,   9,   16,  17,  24, 32,
                                          33, 48, 64, 65, 96, 128, 129, 192, 255, 256};
const std::vector<int32_t> kPromptRows = {257, 320, 512, 1024, 1500, 2048};

struct Op {
  std::string name;
  std::function<Bits(InvarianceCase&, const Place&)> run;
  int32_t rows_max = kRowsMax;
  // Of a row's some thousand results, rounded to bf16, hardly one tells that its float sum was
  // added up in another order. So many rows are looked at.
  uint32_t looks = 12;
};
std::vector<Op> operations() {
  std::vector<Op> out = {
      {"add_norm", [](auto& c, const Place& p) { return c.add_norm(p); }},
      {"qkv full", [](auto& c, const Place& p) { return c.qkv(p, true); }},
      {"qkv window", [](auto& c, const Place& p) { return c.qkv(p, false); }},
      {"o_proj", [](auto& c, const Place& p) { return c.o_proj(p); }},
      {"dense_ffn", [](auto& c, const Place& p) { return c.dense_ffn(p); }},
      {"route", [](auto& c, const Place& p) { return c.route(p); }},
      {"experts", [](auto& c, const Place& p) { return c.experts(p); }, kRowsMax, 40},
      {"lm_head", [](auto& c, const Place& p) { return c.lm_head(p); }, 256},
  };
  for (const int32_t context : {1, 65, 700, 4096, 9000}) {
    for (const bool full : {true, false}) {
      out.push_back({(full ? "attention full " : "attention window ") + std::to_string(context),
                     [=](auto& c, const Place& p) { return c.attention(p, full, context); }});
    }
  }
  return out;
}

// The row somewhere in the step, and other neighbours each time.
Place place_of(int32_t num_rows, uint32_t own, uint32_t seed) {
  return {.num_rows = num_rows,
          .at = static_cast<int32_t>(static_cast<uint32_t>(num_rows) * (own % 5) / 5),
          .own = own,
          .seed = 1000 + seed * 100 + own + static_cast<uint32_t>(num_rows)};
}

// "1 2 3 | 4 5": numbers of rows with equal bits stand together.
std::string classes(const std::map<Bits, std::vector<int32_t>>& found) {
  std::vector<std::vector<int32_t>> groups;
  for (const auto& [bits, rows] : found) groups.push_back(rows);
  std::sort(groups.begin(), groups.end());
  std::ostringstream out;
  for (size_t i = 0; i < groups.size(); ++i) {
    if (i > 0) out << " |";
    for (const int32_t rows : groups[i]) out << " " << rows;
  }
  return out.str();
}

// Each number of rows with two sets of neighbours.
std::map<Bits, std::vector<int32_t>> run(InvarianceCase& one, const Op& op,
                                         const std::vector<int32_t>& numbers) {
  std::map<Bits, std::vector<int32_t>> found;
  for (const int32_t num_rows : numbers) {
    if (num_rows > op.rows_max) continue;
    for (const uint32_t seed : {1, 2}) {
      Bits bits;
      for (uint32_t own = 0; own < op.looks; ++own) {
        const Bits more = op.run(one, place_of(num_rows, own, seed));
        bits.insert(bits.end(), more.begin(), more.end());
      }
      std::vector<int32_t>& rows = found[bits];
      if (rows.empty() || rows.back() != num_rows) rows.push_back(num_rows);
    }
  }
  return found;
}

TEST(Invariance, WithoutTheModeTheSameStepGivesTheSameBits) {
  SKIP_WITHOUT_GPU();
  InvarianceCase one(false);
  for (const Op& op : operations()) {
    std::vector<int32_t> numbers = kDecodeRows;
    numbers.insert(numbers.end(), kPromptRows.begin(), kPromptRows.end());
    std::cout << op.name << ":" << classes(run(one, op, numbers)) << "\n";
    for (const int32_t num_rows : {1, 16, 256}) {
      const Place place = place_of(num_rows, 3, 3);
      EXPECT_TRUE(op.run(one, place) == op.run(one, place)) << op.name << ", " << num_rows;
    }
  }
}

TEST(Invariance, InTheModeMoreSequencesThanADecodeStepHasRowsAreRefused) {
  SKIP_WITHOUT_GPU();
  const auto ops = make_cuda_ops({.batch_invariant = true}).value();
  StepLimits limits;
  limits.slots_max = 257;
  const auto prepared = ops->prepare(limits);
  ASSERT_FALSE(prepared.ok());
  EXPECT_EQ(prepared.error().code, Code::kInvalidArgument);
  EXPECT_NE(prepared.error().message.find("257"), std::string::npos) << prepared.error().message;
}

TEST(Invariance, InTheModeARowsBitsAreTheSameWhateverRowsAreBesideIt) {
  SKIP_WITHOUT_GPU();
  InvarianceCase one(true);
  for (const Op& op : operations()) {
    const auto decode = run(one, op, kDecodeRows);
    EXPECT_EQ(decode.size(), 1u) << op.name << ", decode:" << classes(decode);
    const auto prompt = run(one, op, kPromptRows);
    EXPECT_LE(prompt.size(), 1u) << op.name << ", prompt:" << classes(prompt);
  }
}

}  // namespace
}  // namespace mimo::kernels::cuda::test
