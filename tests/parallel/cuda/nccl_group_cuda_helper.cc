// One rank of a group of GPUs, told by lines on stdin what to do; nccl_group_cuda_test starts it.
//
//   open DEVICE RANK auto|one_shot|two_shot|nccl   -> its address in hexadecimal | error CODE
//   MESSAGE form RANK EPOCH TIMEOUT_MS ADDRESS ...         -> ok | error ... reduce F32|BF16 COUNT
//   SEED SHIFT               -> ok HASH | wrong INDEX | error ... integers F32|BF16 COUNT SEED ->
//   ok HASH | wrong INDEX | error ... gather BYTES SEED apart|in_place               -> ok | wrong
//   INDEX | error ... replay TIMES SEED                              -> ok HASH | wrong REPLAY |
//   error ... barrier                                        -> ok | error ... reduce_until_abort,
//   then abort                 -> waiting, then MS error ... after the abort leave -> ok: the group
//   is destroyed, its memory is not
#include <cuda_runtime.h>

#include <chrono>
#include <cstdio>
#include <iostream>
#include <map>
#include <random>
#include <sstream>
#include <thread>

#include "base/hash.h"
#include "base/hex.h"
#include "kernels/cuda/cuda_check.h"
#include "parallel/cuda/nccl_endpoint.h"
#include "tests/parallel/group_cases.h"

namespace mimo::parallel::cuda {
namespace {

using test::ReduceCase;

constexpr int64_t kMemoryBytes = 96ll << 20;

void answer(const std::string& line) { std::cout << line << std::endl; }

std::string told(const Result<void>& result) {
  return result.ok() ? "ok" : "error " + result.error().to_string();
}

// Small whole numbers: their sum is exact in whatever order and however often it is rounded.
std::vector<uint8_t> integers(const ReduceCase& c, int32_t rank) {
  std::vector<uint8_t> out(static_cast<size_t>(c.count * dtype_bytes(c.dtype)));
  for (int64_t i = 0; i < c.count; ++i) {
    const uint64_t bits =
        hash_combine(c.seed + static_cast<uint64_t>(rank), static_cast<uint64_t>(i));
    const auto value = static_cast<float>(static_cast<int32_t>(bits % 31) - 15);
    if (c.dtype == DType::kF32) {
      std::memcpy(out.data() + i * 4, &value, 4);
    } else {
      const uint16_t half = float_to_bf16(value);
      std::memcpy(out.data() + i * 2, &half, 2);
    }
  }
  return out;
}

std::vector<uint8_t> sum_of_integers(const ReduceCase& c, int32_t size) {
  std::vector<uint8_t> out = integers(c, 0);
  for (int32_t r = 1; r < size; ++r) {
    const std::vector<uint8_t> part = integers(c, r);
    for (int64_t i = 0; i < c.count; ++i) {
      if (c.dtype == DType::kF32) {
        float a = 0, b = 0;
        std::memcpy(&a, out.data() + i * 4, 4);
        std::memcpy(&b, part.data() + i * 4, 4);
        a += b;
        std::memcpy(out.data() + i * 4, &a, 4);
      } else {
        uint16_t a = 0, b = 0;
        std::memcpy(&a, out.data() + i * 2, 2);
        std::memcpy(&b, part.data() + i * 2, 2);
        a = float_to_bf16(bf16_to_float(a) + bf16_to_float(b));
        std::memcpy(out.data() + i * 2, &a, 2);
      }
    }
  }
  return out;
}

std::string compared(const std::vector<uint8_t>& got, const std::vector<uint8_t>& expected) {
  for (size_t i = 0; i < expected.size(); ++i) {
    if (got[i] != expected[i]) {
      return "wrong byte " + std::to_string(i) + " of " + std::to_string(expected.size());
    }
  }
  return "ok " + std::to_string(hash_bytes(got));
}

class Rank final {
 public:
  // False when the word is unknown.
  bool obey(const std::string& line) {
    std::istringstream words(line);
    std::string word;
    words >> word;
    if (word == "open") return open(words);
    if (word == "form") return form(words);
    if (word == "reduce") return reduce(words, false);
    if (word == "integers") return reduce(words, true);
    if (word == "gather") return gather(words);
    if (word == "replay") return replay(words);
    if (word == "barrier") return say(group_->barrier());
    if (word == "reduce_until_abort") return reduce_until_abort();
    if (word != "leave") return false;
    group_.reset();
    return say({});
  }

 private:
  bool say(const Result<void>& result) {
    answer(told(result));
    return true;
  }

  bool open(std::istringstream& words) {
    int32_t device = 0, rank = 0;
    std::string algorithm;
    words >> device >> rank >> algorithm;
    NcclEndpoint::Options options{.is_rank_0 = rank == 0, .algorithm = std::nullopt};
    for (const auto a : {Algorithm::kOneShot, Algorithm::kTwoShot, Algorithm::kNccl}) {
      if (algorithm == algorithm_name(a)) options.algorithm = a;
    }
    if (memory_ == nullptr) {
      auto memory = PeerMemory::create(device);
      if (!memory.ok()) return say(memory.error());
      memory_ = std::move(memory).value();
      CUDA_CHECK(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
      CUDA_CHECK(cudaMalloc(&data_, kMemoryBytes));
    }
    auto opened = NcclEndpoint::open(*memory_, options);
    if (!opened.ok()) return say(opened.error());
    endpoint_ = std::move(opened).value();
    answer(to_hex(endpoint_->address()));
    return true;
  }

  bool form(std::istringstream& words) {
    int32_t rank = 0;
    int64_t epoch = 0, timeout_ms = 0;
    words >> rank >> epoch >> timeout_ms;
    std::vector<std::string> addresses;
    for (std::string address; words >> address;) addresses.push_back(from_hex(address).value());
    auto formed = endpoint_->form(rank, addresses, Epoch{epoch}, timeout_ms);
    if (!formed.ok()) return say(formed.error());
    group_ = std::move(formed).value();
    return say({});
  }

  void upload(char* to, const std::vector<uint8_t>& bytes) {
    CUDA_CHECK(cudaMemcpyAsync(to, bytes.data(), bytes.size(), cudaMemcpyHostToDevice, stream_));
    CUDA_CHECK(cudaStreamSynchronize(stream_));
  }

  // What the stream has made of `bytes` at `from`; an error when the group broke meanwhile.
  Result<std::vector<uint8_t>> finish(const char* from, int64_t bytes) {
    std::vector<uint8_t> out(static_cast<size_t>(bytes));
    CUDA_CHECK(cudaMemcpyAsync(out.data(), from, out.size(), cudaMemcpyDeviceToHost, stream_));
    CUDA_CHECK(cudaStreamSynchronize(stream_));
    TRY(group_->check());
    return out;
  }

  bool reduce(std::istringstream& words, bool whole_numbers) {
    ReduceCase c;
    std::string dtype;
    int64_t shift = 0;
    words >> dtype >> c.count >> c.seed >> shift;
    c.dtype = dtype == "F32" ? DType::kF32 : DType::kBf16;
    char* const at = data_ + shift * dtype_bytes(c.dtype);
    upload(at, whole_numbers ? integers(c, group_->rank()) : test::rank_data(c, group_->rank()));
    const auto queued = group_->all_reduce(c.dtype, at, c.count, {stream_});
    if (!queued.ok()) return say(queued);
    const auto got = finish(at, c.count * dtype_bytes(c.dtype));
    if (!got.ok()) return say(got.error());
    answer(compared(got.value(), whole_numbers ? sum_of_integers(c, group_->size())
                                               : test::expected_sum(c, group_->size())));
    return true;
  }

  bool gather(std::istringstream& words) {
    int64_t bytes = 0;
    uint64_t seed = 0;
    std::string where;
    words >> bytes >> seed >> where;
    const auto expected = test::expected_gather(seed, bytes, group_->size());
    char* const out = data_;
    char* const in = where == "in_place" ? out + group_->rank() * bytes
                                         : data_ + (bytes * group_->size() + 15) / 16 * 16;
    CUDA_CHECK(cudaMemset(out, 0xee, expected.size()));
    upload(in, test::gather_data(seed, bytes, group_->rank()));
    const auto queued = group_->all_gather(in, out, bytes, {stream_});
    if (!queued.ok()) return say(queued);
    const auto got = finish(out, static_cast<int64_t>(expected.size()));
    if (!got.ok()) return say(got.error());
    const std::string result = compared(got.value(), expected);
    answer(result[0] == 'o' ? "ok" : result);
    return true;
  }

  // One graph of sums of several sizes, with pauses between them that differ from rank to rank and
  // from replay to replay.
  bool replay(std::istringstream& words) {
    int32_t times = 0;
    uint64_t seed = 0;
    words >> times >> seed;
    const std::vector<int64_t> counts = {8, 4096, 70000, 4096, 600000, 24};
    pauses_.seed(seed * 31 + static_cast<uint64_t>(group_->rank()));
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t exec = nullptr;
    CUDA_CHECK(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal));
    for (size_t i = 0; i < counts.size(); ++i) {
      CUDA_CHECK(cudaLaunchHostFunc(
          stream_, [](void* self) { static_cast<Rank*>(self)->pause(); }, this));
      const auto queued =
          group_->all_reduce(DType::kBf16, data_ + offset(counts, i), counts[i], {stream_});
      if (!queued.ok()) return say(queued);
    }
    CUDA_CHECK(cudaStreamEndCapture(stream_, &graph));
    CUDA_CHECK(cudaGraphInstantiate(&exec, graph, 0));
    std::string result = "ok 0";
    for (int32_t t = 0; t < times && result[0] == 'o'; ++t) {
      result = replay_once(exec, counts, seed + static_cast<uint64_t>(t) % 4);
    }
    CUDA_CHECK(cudaGraphExecDestroy(exec));
    CUDA_CHECK(cudaGraphDestroy(graph));
    answer(result);
    return true;
  }

  std::string replay_once(cudaGraphExec_t exec, const std::vector<int64_t>& counts, uint64_t seed) {
    for (size_t i = 0; i < counts.size(); ++i) {
      const ReduceCase c{DType::kBf16, counts[i], seed + i * 1000};
      upload(data_ + offset(counts, i), cached(c, true));
    }
    CUDA_CHECK(cudaGraphLaunch(exec, stream_));
    for (size_t i = 0; i < counts.size(); ++i) {
      const ReduceCase c{DType::kBf16, counts[i], seed + i * 1000};
      const auto got = finish(data_ + offset(counts, i), counts[i] * 2);
      if (!got.ok()) return told(got.error());
      const std::string result = compared(got.value(), cached(c, false));
      if (result[0] != 'o') return result + " of sum " + std::to_string(i);
    }
    return "ok 0";
  }

  static int64_t offset(const std::vector<int64_t>& counts, size_t i) {
    int64_t out = 0;
    for (size_t k = 0; k < i; ++k) out += (counts[k] * 2 + 255) / 256 * 256;
    return out;
  }

  // Made once for each case: references cost more than replays.
  const std::vector<uint8_t>& cached(const ReduceCase& c, bool input) {
    auto& made = (input ? inputs_ : sums_)[{c.count, c.seed}];
    if (made.empty()) {
      made = input ? test::rank_data(c, group_->rank()) : test::expected_sum(c, group_->size());
    }
    return made;
  }

  // Mostly none, sometimes long enough for the other ranks to wait.
  void pause() {
    const uint64_t draw = pauses_() % 16;
    if (draw < 3) std::this_thread::sleep_for(std::chrono::microseconds(20 << (2 * draw)));
  }

  bool reduce_until_abort() {
    std::chrono::steady_clock::time_point aborted;
    std::thread listener([&] {
      std::string line;
      std::getline(std::cin, line);
      aborted = std::chrono::steady_clock::now();
      group_->abort();
    });
    const auto queued = group_->all_reduce(DType::kBf16, data_, 4096, {stream_});
    // More behind it, as in a step: they must not wait again.
    for (int32_t i = 0; i < 100; ++i)
      (void)group_->all_reduce(DType::kF32, data_, 300000, {stream_});
    answer("waiting");
    const auto result = queued.ok() ? finish(data_, 8) : queued.error();
    const auto ended = std::chrono::steady_clock::now();
    listener.join();
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(ended - aborted).count();
    answer(std::to_string(ms) + " " + (result.ok() ? "ok" : told(result.error())));
    return true;
  }

  std::unique_ptr<PeerMemory> memory_;
  std::unique_ptr<NcclEndpoint> endpoint_;
  std::unique_ptr<TpGroup> group_;
  cudaStream_t stream_ = nullptr;
  char* data_ = nullptr;
  std::mt19937_64 pauses_;
  std::map<std::pair<int64_t, uint64_t>, std::vector<uint8_t>> inputs_;
  std::map<std::pair<int64_t, uint64_t>, std::vector<uint8_t>> sums_;
};

}  // namespace
}  // namespace mimo::parallel::cuda

int main() {
  mimo::parallel::cuda::Rank rank;
  std::string line;
  while (std::getline(std::cin, line)) {
    if (!rank.obey(line)) return 2;
  }
  return 0;
}
