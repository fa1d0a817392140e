#include "kernels/cuda/attention/attention_ops.h"
#include "tests/kernels/cuda/attention_case.h"
#include "tests/kernels/cuda/cuda_support.h"

namespace mimo::kernels::cuda::test {
namespace {

using mimo::kernels::test::AttentionCase;
using mimo::kernels::test::AttentionRun;
using mimo::kernels::test::AttentionShape;
using mimo::kernels::test::Sinks;

// A case on the device.
class DeviceCase {
 public:
  explicit DeviceCase(const AttentionCase& of, const DecodeTuning& tuning = {})
      : of_(of), context_(make_context()), ops_(*context_, tuning) {
    const AttentionShape& shape = of.shape;
    p_.q = device_array(*context_, of.q);
    p_.num_q_heads = shape.kv_heads * shape.group;
    p_.runs = {.num_tokens = of.num_tokens,
               .num_runs = static_cast<int32_t>(of.runs.size()),
               .row_begin = device_array(*context_, of.row_begin),
               .context = device_array(*context_, of.context),
               .row_run = device_array(*context_, of.row_run),
               .slot = device_array(*context_, of.slot),
               .rows_per_run_max = of.rows_max};
    p_.kv = {.k = device_array(*context_, of.k_pool),
             .v = device_array(*context_, of.v_pool),
             .k_dtype = DType::kBf16,
             .v_dtype = DType::kBf16,
             .kv_heads = shape.kv_heads,
             .k_dim = shape.k_dim,
             .v_dim = shape.v_dim,
             .page_tokens = shape.page_tokens,
             .pages = device_array(*context_, of.pages),
             .stride = of.stride};
    p_.window = shape.window;
    if (!of.sinks.empty()) p_.sinks = device_array(*context_, of.sinks);
    p_.scale = of.scale();
    StepLimits limits;
    limits.tokens_max = of.num_tokens;
    limits.runs_max = p_.runs.num_runs;
    limits.q_heads_max = p_.num_q_heads;
    limits.v_dim_max = shape.v_dim;
    ops_.prepare(limits).value();
    // One row to spare, which must stay as it is.
    out_ = poisoned_array<uint16_t>(*context_, of.out_size() + shape.v_dim);
    p_.out = out_;
  }

  ~DeviceCase() {
    if (recorded_ != nullptr) CUDA_CHECK(cudaGraphExecDestroy(recorded_));
  }

  // What the operation wrote, over NaN.
  std::vector<uint16_t> run() {
    CUDA_CHECK(cudaMemsetAsync(out_, 0xff, static_cast<size_t>(of_.out_size()) * sizeof *out_,
                               context_->stream()));
    if (recorded_ != nullptr) {
      CUDA_CHECK(cudaGraphLaunch(recorded_, context_->stream()));
    } else {
      ops_.attention(p_);
    }
    return to_host(*context_, out_, of_.out_size());
  }
  // The operation as a graph; run() then replays it.
  void record() {
    cudaGraph_t graph = nullptr;
    CUDA_CHECK(cudaStreamBeginCapture(context_->stream(), cudaStreamCaptureModeThreadLocal));
    ops_.attention(p_);
    CUDA_CHECK(cudaStreamEndCapture(context_->stream(), &graph));
    CUDA_CHECK(cudaGraphInstantiate(&recorded_, graph, 0));
    CUDA_CHECK(cudaGraphDestroy(graph));
  }
  // Another step of the same shape over the same pools.
  void change(const std::vector<int32_t>& contexts, const std::vector<int32_t>& slots) {
    const auto put = [](const int32_t* to, const std::vector<int32_t>& values) {
      CUDA_CHECK(cudaMemcpy(const_cast<int32_t*>(to), values.data(),
                            values.size() * sizeof(int32_t), cudaMemcpyHostToDevice));
    };
    put(p_.runs.context, contexts);
    put(p_.runs.slot, slots);
  }
  bool left_the_rest_alone() {
    for (const uint16_t x : to_host(*context_, out_ + of_.out_size(), of_.shape.v_dim)) {
      if (x != 0xffff) return false;
    }
    return true;
  }

 private:
  const AttentionCase& of_;
  std::unique_ptr<DeviceContext> context_;
  AttentionOps ops_;
  AttentionParams p_;
  uint16_t* out_ = nullptr;
  cudaGraphExec_t recorded_ = nullptr;
};

std::vector<float> floats(const std::vector<uint16_t>& bits) {
  std::vector<float> out;
  out.reserve(bits.size());
  for (const uint16_t x : bits) out.push_back(bf16_to_float(x));
  return out;
}

void check(const AttentionCase& of, size_t runs_max, const DecodeTuning& tuning) {
  SCOPED_TRACE(std::string("kernel ") + tuning.wish);
  DeviceCase on_device(of, tuning);

  const auto first = on_device.run();
  const auto second = on_device.run();

  of.expect(floats(first), runs_max);
  EXPECT_EQ(first, second) << of.name() << ": another answer the second time";
  EXPECT_TRUE(on_device.left_the_rest_alone()) << of.name();
}

constexpr DecodeTuning kChosen = {.wish = "auto"};
constexpr DecodeTuning kPortable = {.wish = "mma_sync"};
constexpr DecodeTuning kInvariant = {.wish = "auto", .batch_invariant = true};

// By the kernel that is chosen here, by the portable one, and in the batch-invariant mode.
void check(const AttentionShape& shape, const std::vector<AttentionRun>& runs,
           size_t runs_max = 1u << 30) {
  const AttentionCase of(shape, runs, /*seed=*/11);
  for (const auto& tuning : {kChosen, kPortable, kInvariant}) check(of, runs_max, tuning);
}

constexpr Sinks kSinks[] = {Sinks::kNone, Sinks::kNormal, Sinks::kNever, Sinks::kLarge};

AttentionShape full_layer() { return {}; }
AttentionShape window_layer(Sinks sinks = Sinks::kNormal) {
  return {.kv_heads = 2, .group = 8, .window = 128, .sinks = sinks};
}

TEST(AttentionCuda, DecodeOfEveryShortLength) {
  SKIP_WITHOUT_GPU();
  std::vector<AttentionRun> runs;
  for (const int32_t context : {1, 2, 15, 16, 17, 63, 64, 65, 66, 127, 128, 129, 255, 256, 257}) {
    runs.push_back({context, 1});
    check(full_layer(), {{context, 1}});
  }

  check(full_layer(), runs);
}

TEST(AttentionCuda, DecodeOfLongLengthsInSplits) {
  SKIP_WITHOUT_GPU();
  for (const int32_t context : {511, 512, 513, 1023, 4096, 8191, 32768}) {
    check(full_layer(), {{context, 1}});
  }
  check(full_layer(), {{32767, 1}, {1, 1}, {4097, 1}, {64, 1}, {20000, 4}});
}

TEST(AttentionCuda, DecodeWithADeepRing) {
  SKIP_WITHOUT_GPU();
  for (const auto& [k_dim, v_dim] : {std::pair{192, 128}, {128, 128}, {64, 64}, {256, 256}}) {
    AttentionShape shape = full_layer();
    shape.k_dim = k_dim;
    shape.v_dim = v_dim;
    for (const int32_t window : {0, 300}) {
      shape.window = window;
      check({shape, {{5000, 1}, {1, 1}, {64, 1}, {65, 2}, {700, 8}, {0, 1}}, /*seed=*/11}, 8,
            {.wish = "mma_sync", .blocks_per_sm = 1, .deep_ring = true});
    }
  }
}

TEST(AttentionCuda, DecodeAtTheWindowsEdges) {
  SKIP_WITHOUT_GPU();
  for (const Sinks sinks : kSinks) {
    for (const int32_t page_tokens : {16, 32, 64, 128}) {
      AttentionShape shape = window_layer(sinks);
      shape.page_tokens = page_tokens;
      check(shape, {{126, 1},
                    {127, 1},
                    {128, 1},
                    {129, 1},
                    {130, 1},
                    {1, 1},
                    {191, 1},
                    {192, 1},
                    {5000, 1}});
    }
  }
}

TEST(AttentionCuda, WindowsOfEverySize) {
  SKIP_WITHOUT_GPU();
  // Up to 144 keys lie in shared memory at once; some windows more are not split.
  for (const int32_t window : {1, 16, 100, 136, 137, 138, 141, 144, 145, 200, 256, 257, 1000}) {
    AttentionShape shape = window_layer();
    shape.window = window;
    check(shape, {{5000, 1}, {window, 1}, {window + 1, 1}, {7, 1}, {0, 1}});
    check(shape, {{5003, 4}, {window + 1, 2}, {window + 2, 3}, {8, 8}, {3000, 8}, {0, 2}});
    check(shape, {{1001, 8}, {700, 100}});
  }
}

TEST(AttentionCuda, MoreWindowsThanBlocks) {
  SKIP_WITHOUT_GPU();
  for (const int32_t rows : {1, 2, 4, 7}) {
    std::vector<AttentionRun> runs;
    for (int32_t s = 0; s < 290; ++s) runs.push_back({s % 5 == 3 ? 0 : s * 37 % 400 + 8, rows});
    check(window_layer(), runs, 40);
  }
}

TEST(AttentionCuda, SinksWithoutAWindow) {
  SKIP_WITHOUT_GPU();
  for (const Sinks sinks : kSinks) {
    AttentionShape shape = full_layer();
    shape.sinks = sinks;
    check(shape, {{1, 1}, {3000, 1}, {700, 5}, {200, 150}});
  }
}

TEST(AttentionCuda, PagesOfEverySize) {
  SKIP_WITHOUT_GPU();
  for (const int32_t page_tokens : {16, 32, 64, 128}) {
    AttentionShape shape = full_layer();
    shape.page_tokens = page_tokens;
    shape.spare_stride = 3;
    const int32_t page = page_tokens;
    check(shape, {{page - 1, 1}, {page, 1}, {page + 1, 1}, {4 * page, 2}, {9 * page + 1, 100}});
  }
}

TEST(AttentionCuda, GroupsAndRowsThatFillNoTile) {
  SKIP_WITHOUT_GPU();
  for (const int32_t group : {1, 2, 3, 4, 5, 7, 8, 12, 16}) {
    AttentionShape shape = full_layer();
    shape.kv_heads = group % 2 + 1;
    shape.group = group;
    std::vector<AttentionRun> runs;
    for (int32_t rows = 1; rows <= 8; ++rows) runs.push_back({rows * 37, rows});
    check(shape, runs);
    shape.window = 33;
    check(shape, runs);
  }
}

TEST(AttentionCuda, SeveralRowsOfALongRun) {
  SKIP_WITHOUT_GPU();
  for (const int32_t rows : {1, 2, 3, 4, 5, 8}) {
    check(full_layer(), {{5000, rows}, {rows, rows}, {130, rows}});
    check(window_layer(), {{5000, rows}, {rows, rows}, {130, rows}});
  }
}

TEST(AttentionCuda, PromptsFromTheStart) {
  SKIP_WITHOUT_GPU();
  for (const int32_t rows : {9, 15, 16, 17, 63, 64, 65, 127, 128, 129, 300, 1024}) {
    check(full_layer(), {{rows, rows}});
    check(window_layer(), {{rows, rows}});
  }
}

TEST(AttentionCuda, PromptsOverContext) {
  SKIP_WITHOUT_GPU();
  const std::pair<int32_t, int32_t> cases[] = {
      {9, 128},   {24, 1023}, {64, 128},  {113, 203},  {128, 217},  {113, 211},  {108, 256},
      {256, 512}, {512, 256}, {384, 640}, {512, 1024}, {799, 1200}, {1023, 1024}};
  for (const auto& [rows, before] : cases) {
    check(full_layer(), {{rows + before, rows}});
    check(window_layer(), {{rows + before, rows}});
  }
  check(full_layer(), {{32768, 200}});
  check(window_layer(), {{32768, 200}});
}

TEST(AttentionCuda, MixedStepsWithPaddingAndEmptyRuns) {
  SKIP_WITHOUT_GPU();
  const std::vector<AttentionRun> runs = {{700, 300}, {1, 1},     {0, 1},   {64, 0},  {2000, 1},
                                          {0, 20},    {129, 129}, {33, 8},  {600, 9}, {1000, 1},
                                          {0, 8},     {128, 1},   {40, 12}, {0, 0}};
  for (const Sinks sinks : {Sinks::kNone, Sinks::kNormal}) {
    AttentionShape shape = full_layer();
    shape.sinks = sinks;
    check(shape, runs);
    check(window_layer(sinks), runs);
  }
}

TEST(AttentionCuda, NothingButPadding) {
  SKIP_WITHOUT_GPU();
  check(full_layer(), {{0, 1}, {0, 1}, {0, 3}});
  check(full_layer(), {{0, 100}});
}

TEST(AttentionCuda, MoreRunsThanABlockHasThreads) {
  SKIP_WITHOUT_GPU();
  std::vector<AttentionRun> runs;
  for (int32_t s = 0; s < 600; ++s) runs.push_back({s % 7 * 30 + 20, s % 3 == 0 ? 10 + s % 5 : 1});
  AttentionShape shape = full_layer();
  shape.group = 4;

  check(shape, runs, 100);
}

TEST(AttentionCuda, WidthsOfSmallModels) {
  SKIP_WITHOUT_GPU();
  struct Widths {
    int32_t k_dim, v_dim, kv_heads, group;
  };
  for (const Widths& w :
       {Widths{24, 40, 1, 4}, Widths{32, 16, 2, 2}, Widths{48, 32, 1, 8}, Widths{64, 64, 8, 1},
        Widths{128, 128, 2, 6}, Widths{192, 128, 2, 1}, Widths{256, 256, 1, 3}, Widths{8, 8, 1, 1},
        Widths{8, 256, 1, 2}, Widths{200, 136, 1, 16}, Widths{72, 128, 3, 5}}) {
    for (const int32_t window : {0, 20, 600}) {
      check({.k_dim = w.k_dim,
             .v_dim = w.v_dim,
             .kv_heads = w.kv_heads,
             .group = w.group,
             .page_tokens = 16,
             .window = window,
             .sinks = window > 0 ? Sinks::kNormal : Sinks::kNone},
            {{1, 1}, {300, 1}, {1500, 2}, {65, 8}, {100, 100}, {500, 33}});
    }
  }
}

TEST(AttentionCuda, ABatchOf256MixedLengths) {
  SKIP_WITHOUT_GPU();
  std::vector<AttentionRun> runs;
  std::mt19937 generator(5);
  for (int32_t s = 0; s < 256; ++s) {
    runs.push_back({static_cast<int32_t>(generator() % (s % 16 == 0 ? 8000 : 1000)), 1});
  }

  check(full_layer(), runs, 32);
  check(window_layer(), runs, 64);
}

TEST(AttentionCuda, SharesOfEverySize) {
  SKIP_WITHOUT_GPU();
  const AttentionCase of(
      full_layer(), {{9000, 1}, {1, 1}, {0, 1}, {640, 8}, {64, 1}, {700, 40}, {3000, 4}, {65, 2}},
      12);
  for (const int32_t share_min : {1, 2, 3, 7, 16, 1000})
    check(of, 8, {.wish = "auto", .share_min = share_min});
}

TEST(AttentionCuda, MoreDecodeRunsThanABlockHasThreads) {
  SKIP_WITHOUT_GPU();
  std::vector<AttentionRun> runs;
  for (int32_t s = 0; s < 700; ++s) runs.push_back({s % 11 == 0 ? 0 : s % 13 * 50 + 20, 1});
  AttentionShape shape = full_layer();
  shape.group = 4;

  check(shape, runs, 100);
  shape.window = 128;
  check(shape, runs, 100);
}

TEST(AttentionCuda, AReplayWithOtherLengthsAndPagesEqualsACall) {
  SKIP_WITHOUT_GPU();
  // Long and short runs change places, so that other blocks have work.
  const AttentionCase of(full_layer(), {{6000, 1}, {17, 1}, {900, 6}, {4000, 40}}, 4);
  const std::vector<int32_t> contexts = {900, 0, 5000, 40};
  std::vector<int32_t> slots = of.slot;
  std::swap(slots[0], slots[2]);
  slots[3] = slots[0];
  for (const DecodeTuning& tuning : {kChosen, kPortable}) {
    DeviceCase called(of, tuning);
    DeviceCase replayed(of, tuning);
    replayed.record();
    EXPECT_EQ(replayed.run(), called.run());

    called.change(contexts, slots);
    replayed.change(contexts, slots);

    const auto want = called.run();
    EXPECT_EQ(replayed.run(), want) << tuning.wish;
    EXPECT_EQ(std::count(want.begin(), want.end(), 0xffff), 0) << "elements not written";
  }
}

TEST(AttentionCuda, AThousandTimesTheSameBits) {
  SKIP_WITHOUT_GPU();
  for (const AttentionCase& of :
       {AttentionCase(full_layer(), {{6000, 1}, {17, 1}, {900, 6}}, 1),
        AttentionCase(full_layer(), {{6000, 1}, {300, 200}, {900, 6}}, 2),
        AttentionCase(window_layer(), {{6000, 1}, {300, 200}, {900, 6}}, 3)}) {
    for (const DecodeTuning& tuning : {kChosen, kPortable}) {
      DeviceCase on_device(of, tuning);
      const auto want = on_device.run();
      of.expect(floats(want));

      for (int32_t i = 1; i < 1000; ++i) {
        ASSERT_EQ(on_device.run(), want) << of.name() << ", " << tuning.wish << ": repeat " << i;
      }
    }
  }
}

}  // namespace
}  // namespace mimo::kernels::cuda::test
