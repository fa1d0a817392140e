#include <algorithm>
#include <functional>
#include <numeric>

#include "kernels/cuda/cuda_ops.h"
#include "tests/kernels/cuda/cuda_support.h"

namespace mimo::kernels::cuda::test {
namespace {

using mimo::kernels::test::random_floats;
using mimo::kernels::test::random_weight;

std::unique_ptr<CudaOps> make_ops(const CudaOptions& options = {}) {
  return make_cuda_ops(options).value();
}

template <typename T>
T* uploaded(Ops& ops, const std::vector<T>& values) {
  const auto bytes = static_cast<int64_t>(values.size() * sizeof(T));
  auto* const out = static_cast<T*>(ops.allocate(bytes, Purpose::kWorkspace).value());
  ops.upload(out, values.data(), bytes);
  return out;
}

template <typename T>
std::vector<T> downloaded(Ops& ops, const void* from, int64_t count) {
  std::vector<T> out(static_cast<size_t>(count));
  ops.download(out.data(), from, count * int64_t{sizeof(T)});
  return out;
}

// --- Memory -------------------------------------------------------------------------------------

TEST(CudaOpsMemory, IsZeroedAndCountedUnderItsPurpose) {
  SKIP_WITHOUT_GPU();
  const auto ops = make_ops();
  const auto before = ops->bytes_by_purpose();

  void* const k = ops->allocate(1000, Purpose::kK).value();
  void* const v = ops->allocate(3 << 20, Purpose::kV).value();

  const auto after = ops->bytes_by_purpose();
  const auto taken = [&](Purpose purpose) {
    const auto i = static_cast<size_t>(purpose);
    return after[i] - before[i];
  };
  EXPECT_GE(taken(Purpose::kK), 1000);
  EXPECT_LT(taken(Purpose::kK), 1000 + 256);
  EXPECT_EQ(taken(Purpose::kV), 3 << 20);
  EXPECT_EQ(taken(Purpose::kWorkspace), 0);
  for (const auto& bytes :
       {downloaded<uint8_t>(*ops, k, 1000), downloaded<uint8_t>(*ops, v, 3 << 20)}) {
    EXPECT_TRUE(std::all_of(bytes.begin(), bytes.end(), [](uint8_t x) { return x == 0; }));
  }
}

TEST(CudaOpsMemory, ARefusalHasTakenNothing) {
  SKIP_WITHOUT_GPU();
  const auto ops = make_ops({.memory_bytes_max = 1 << 20});
  ASSERT_TRUE(ops->allocate(512 << 10, Purpose::kK).ok());
  const auto before = ops->bytes_by_purpose();
  const Weight large = random_weight(DType::kBf16, 600, 512, 1);

  const auto exhausted = [&](const auto& result) {
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().code, Code::kResourceExhausted) << result.error().message;
    EXPECT_NE(result.error().message.find(std::to_string(1 << 20)), std::string::npos);
  };
  exhausted(ops->allocate((512 << 10) + 1, Purpose::kV));
  exhausted(ops->load_linear(large.view()));
  exhausted(ops->make_stack({8, DType::kBf16, 512, 512, 128}));
  exhausted(ops->allocate_rows(512, 512));

  EXPECT_EQ(ops->bytes_by_purpose(), before);
  EXPECT_TRUE(ops->allocate(512 << 10, Purpose::kV).ok());
}

TEST(CudaOpsMemory, MoreThanTheDeviceHasIsRefusedWithTheFigures) {
  SKIP_WITHOUT_GPU();
  const auto ops = make_ops();
  const int64_t bytes = ops->info().total_bytes * 2;

  const auto refused = ops->allocate(bytes, Purpose::kV);

  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Code::kResourceExhausted);
  EXPECT_NE(refused.error().message.find(std::to_string(bytes)), std::string::npos);
  EXPECT_TRUE(ops->allocate(1 << 20, Purpose::kV).ok());  // the device works on
}

TEST(CudaOpsMemory, WeightsOfAnotherFormAreRefusedByName) {
  SKIP_WITHOUT_GPU();
  const auto ops = make_ops();
  const auto before = ops->bytes_by_purpose();
  const auto refused = [&](const auto& result, const std::string& word) {
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().code, Code::kInvalidArgument);
    EXPECT_NE(result.error().message.find(word), std::string::npos) << result.error().message;
  };

  refused(ops->load_linear(random_weight(DType::kF32, 16, 16, 1).view()), "F32");
  refused(ops->load_linear(random_weight(DType::kBf16, 16, 12, 1).view()), "12");
  Weight short_bytes = random_weight(DType::kBf16, 16, 16, 1);
  short_bytes.bytes.pop_back();
  refused(ops->load_linear(short_bytes.view()), "511");
  Weight more_scales = random_weight(DType::kF8E4m3, 16, 16, 1);
  more_scales.scales.push_back(1.0f);
  refused(ops->load_linear(more_scales.view()), "scales: 2");
  refused(ops->make_stack({0, DType::kBf16, 16, 16, 128}), "0 of");
  refused(ops->allocate_rows(4, 12), "12");

  EXPECT_EQ(ops->bytes_by_purpose(), before);
}

TEST(CudaOpsMemory, RowsHaveAnFp8CopyAndLieApart) {
  SKIP_WITHOUT_GPU();
  const auto ops = make_ops();
  const Rows rows = ops->allocate_rows(7, 200).value();

  const auto* const values = static_cast<const uint8_t*>(rows.values);
  EXPECT_EQ(rows.cols, 200);
  EXPECT_GE(rows.q, values + 7 * 200 * 2);
  EXPECT_GE(reinterpret_cast<const uint8_t*>(rows.q_scales), rows.q + 7 * 200);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(rows.q) % 256, 0u);
  EXPECT_EQ(downloaded<float>(*ops, rows.q_scales, 7 * 2), std::vector<float>(14, 0.0f));
}

// --- Copies and marks ---------------------------------------------------------------------------

TEST(CudaOpsCopies, TheSourceOfAnUploadIsFreeAgain) {
  SKIP_WITHOUT_GPU();
  const auto ops = make_ops();
  for (const int64_t bytes : {int64_t{0}, int64_t{1}, int64_t{63}, int64_t{1} << 20,
                              (int64_t{4} << 20) + 5, (int64_t{50} << 20) + 7}) {
    std::vector<uint8_t> source(static_cast<size_t>(bytes));
    for (size_t i = 0; i < source.size(); ++i) source[i] = static_cast<uint8_t>(i * 31 >> 3);
    const std::vector<uint8_t> want = source;
    void* const memory = ops->allocate(bytes, Purpose::kTransfer).value();

    ops->upload(memory, source.data(), bytes);
    std::fill(source.begin(), source.end(), uint8_t{0xee});

    EXPECT_TRUE(downloaded<uint8_t>(*ops, memory, bytes) == want) << bytes << " bytes";
  }
}

TEST(CudaOpsCopies, ManySmallUploadsArriveInOrder) {
  SKIP_WITHOUT_GPU();
  const auto ops = make_ops();
  auto* const memory = static_cast<int32_t*>(ops->allocate(4, Purpose::kTransfer).value());
  auto* const all = static_cast<int32_t*>(ops->allocate(4 * 5000, Purpose::kTransfer).value());
  for (int32_t i = 0; i < 5000; ++i) {
    const int32_t value = i * 3;
    ops->upload(memory, &value, 4);
    ops->upload(all + i, &value, 4);
  }

  EXPECT_EQ(downloaded<int32_t>(*ops, memory, 1)[0], 4999 * 3);
  const auto values = downloaded<int32_t>(*ops, all, 5000);
  for (int32_t i = 0; i < 5000; ++i) ASSERT_EQ(values[static_cast<size_t>(i)], i * 3);
}

TEST(CudaOpsMarks, StandForWhatWasQueuedBefore) {
  SKIP_WITHOUT_GPU();
  const auto ops = make_ops();
  auto* const host = static_cast<int32_t*>(ops->allocate_host(8000).value());
  auto* const back = static_cast<int32_t*>(ops->allocate_host(8000).value());
  void* const device = ops->allocate(8000, Purpose::kTransfer).value();
  EXPECT_EQ(std::accumulate(host, host + 2000, 0), 0);
  std::iota(host, host + 2000, 17);

  ops->upload_later(device, host, 8000);
  ops->download_later(back, device, 8000);
  const Mark mark = ops->mark();
  ops->wait(mark);

  EXPECT_TRUE(ops->done(mark));
  EXPECT_TRUE(std::equal(host, host + 2000, back));
}

TEST(CudaOpsMarks, MayBeForgottenAndAskedInAnyOrder) {
  SKIP_WITHOUT_GPU();
  const auto ops = make_ops();
  std::vector<Mark> marks;
  for (int i = 0; i < 1000; ++i) marks.push_back(ops->mark());

  ops->wait(marks[990]);
  EXPECT_TRUE(ops->done(marks[990]));
  EXPECT_TRUE(ops->done(marks[3]));
  ops->wait(marks[999]);
  ops->wait(marks[0]);
  for (const Mark mark : marks) EXPECT_TRUE(ops->done(mark));
}

TEST(CudaOpsShapes, RowsArePaddedToFewSizes) {
  SKIP_WITHOUT_GPU();
  const auto ops = make_ops();
  int32_t before = 0;
  for (int32_t rows = 1; rows <= 1000; ++rows) {
    const int32_t padded = ops->padded_rows(rows);
    EXPECT_GE(padded, rows);
    EXPECT_GE(padded, before);
    EXPECT_EQ(ops->padded_rows(padded), padded);
    before = padded;
  }
  EXPECT_EQ(ops->padded_rows(17), 24);
  EXPECT_EQ(ops->padded_rows(256), 256);
  EXPECT_EQ(ops->padded_rows(257), 320);
}

// --- Recorded bodies ----------------------------------------------------------------------------

// Some steps over memory that the test changes: embed, twice a norm, the last tokens gathered and
// put back.
struct Body {
  static constexpr int32_t kHidden = 256;
  static constexpr int32_t kTokens = 5;
  static constexpr int32_t kVocab = 64;

  explicit Body(Ops& o) : ops(o) {
    table = ops.load_linear(random_weight(DType::kBf16, kVocab, kHidden, 5).view()).value();
    weight = uploaded(ops, random_floats(kHidden, 6, CpuMode::kF32));
    ids = uploaded(ops, std::vector<int32_t>(kTokens, 0));
    last = uploaded(ops, std::vector<int32_t>{1, 2, 3});
    at = uploaded(ops, std::vector<int32_t>{2, 0});
    rows = uploaded(ops, std::vector<int32_t>{4, 1});
    x = ops.allocate(kTokens * kHidden * 2, Purpose::kWorkspace).value();
    normed = ops.allocate_rows(kTokens, kHidden).value();
    out = ops.allocate(2 * kHidden * 2, Purpose::kWorkspace).value();
  }
  Result<void> queue() {
    ++num_calls;
    ops.embed({ids, last, table, 0, x, kTokens});
    ops.add_norm({x, nullptr, weight, normed, 1e-5f, kTokens});
    ops.add_norm({x, normed.values, weight, normed, 1e-5f, kTokens});
    ops.gather_rows({normed.values, rows, out, 2, kHidden});
    ops.scatter({last, at, ids, 2});
    return {};
  }
  Result<void> run(uint64_t key) {
    return ops.recorded(key, [this] { return queue(); });
  }
  void set(const std::vector<int32_t>& new_ids, const std::vector<int32_t>& new_rows) {
    ops.upload(ids, new_ids.data(), kTokens * 4);
    ops.upload(rows, new_rows.data(), 8);
  }
  // All that it wrote.
  std::vector<uint8_t> result() {
    std::vector<uint8_t> all = downloaded<uint8_t>(ops, out, 2 * kHidden * 2);
    for (const auto& part : {downloaded<uint8_t>(ops, normed.q, kTokens * kHidden),
                             downloaded<uint8_t>(ops, normed.q_scales, kTokens * kHidden / 128 * 4),
                             downloaded<uint8_t>(ops, last, 12)}) {
      all.insert(all.end(), part.begin(), part.end());
    }
    return all;
  }

  Ops& ops;
  Linear table;
  float* weight = nullptr;
  int32_t* ids = nullptr;
  int32_t* last = nullptr;
  int32_t* at = nullptr;
  int32_t* rows = nullptr;
  void* x = nullptr;
  Rows normed;
  void* out = nullptr;
  int32_t num_calls = 0;
};

TEST(CudaOpsRecorded, AReplayWithChangedMemoryIsTheEagerRunBitForBit) {
  SKIP_WITHOUT_GPU();
  const auto recording_ops = make_ops();
  const auto eager_ops = make_ops({.record = false});
  Body recorded(*recording_ops);
  Body eager(*eager_ops);

  std::vector<uint8_t> before;
  for (int32_t i = 0; i < 20; ++i) {
    const std::vector<int32_t> ids = {i, ~(i % 3), 63 - i, ~2, (i * 7) % 64};
    const std::vector<int32_t> rows = {i % 5, (i * 2 + 1) % 5};
    for (Body* body : {&recorded, &eager}) {
      body->set(ids, rows);
      ASSERT_TRUE(body->run(77).ok());
    }
    const auto want = eager.result();
    EXPECT_TRUE(recorded.result() == want) << "replay " << i;
    EXPECT_FALSE(want == before) << "replay " << i;  // the memory did change something
    before = want;
  }

  EXPECT_EQ(recorded.num_calls, 1);
  EXPECT_EQ(eager.num_calls, 20);
}

TEST(CudaOpsRecorded, KeysAreApartAndForgottenTogether) {
  SKIP_WITHOUT_GPU();
  const auto ops = make_ops();
  Body body(*ops);
  ASSERT_TRUE(body.run(1).ok());
  ASSERT_TRUE(body.run(2).ok());
  ASSERT_TRUE(body.run(1).ok());
  EXPECT_EQ(body.num_calls, 2);
  EXPECT_GE(ops->bytes_by_purpose()[static_cast<size_t>(Purpose::kGraphs)], 0);

  ops->forget_recordings();
  EXPECT_EQ(ops->bytes_by_purpose()[static_cast<size_t>(Purpose::kGraphs)], 0);
  ASSERT_TRUE(body.run(1).ok());
  EXPECT_EQ(body.num_calls, 3);
}

TEST(CudaOpsRecorded, AnErrorOfTheBodyComesBackAndRecordsNothing) {
  SKIP_WITHOUT_GPU();
  const auto ops = make_ops();
  Body body(*ops);
  bool refuse = true;
  const auto run = [&] {
    return ops->recorded(9, [&]() -> Result<void> {
      TRY(body.queue());
      if (refuse) return Error{Code::kAborted, "a peer left"};
      return {};
    });
  };
  const auto before = body.result();

  const auto refused = run();

  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Code::kAborted);
  EXPECT_TRUE(body.result() == before);  // what was queued before the error did not run
  refuse = false;
  ASSERT_TRUE(run().ok());
  EXPECT_EQ(body.num_calls, 2);
  EXPECT_FALSE(body.result() == before);
}

}  // namespace
}  // namespace mimo::kernels::cuda::test
