// One rank of a UCX group, told by lines on stdin what to do; ucx_group_test starts it.
//
//   open [HOST]                               -> its address
//   form RANK EPOCH TIMEOUT_MS ADDRESS ...    -> ok | error CODE MESSAGE
//   reduce COUNT SEED                         -> ok | error ... | wrong
//   reduce_many SEED NUM_CASES                -> ok HASH | error ... | wrong CASE
//   gather BYTES SEED                         -> ok | error ... | wrong
//   barrier                                   -> ok | error ...
//   barrier_until_abort, then abort           -> waiting, then error ... after the abort
//   leave                                     -> ok: the group is destroyed
#include <chrono>
#include <cstdio>
#include <iostream>
#include <sstream>
#include <thread>

#include "base/hash.h"
#include "parallel/ucx_endpoint.h"
#include "tests/parallel/group_cases.h"

namespace mimo::parallel {
namespace {

void answer(const std::string& line) { std::cout << line << std::endl; }

std::string told(const Result<void>& result) {
  return result.ok() ? "ok" : "error " + result.error().to_string();
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
    if (word == "reduce") return reduce(words);
    if (word == "reduce_many") return reduce_many(words);
    if (word == "gather") return gather(words);
    if (word == "barrier") return say(group_->barrier());
    if (word == "barrier_until_abort") return barrier_until_abort();
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
    UcxEndpoint::Options options;
    words >> options.bind_host;
    auto opened = UcxEndpoint::open(options);
    if (!opened.ok()) return say(opened.error());
    endpoint_ = std::move(opened).value();
    answer(endpoint_->address());
    return true;
  }

  bool form(std::istringstream& words) {
    int32_t rank = 0;
    int64_t epoch = 0, timeout_ms = 0;
    words >> rank >> epoch >> timeout_ms;
    std::vector<std::string> addresses;
    for (std::string address; words >> address;) addresses.push_back(address);
    auto formed = endpoint_->form(rank, addresses, Epoch{epoch}, timeout_ms);
    if (!formed.ok()) return say(formed.error());
    group_ = std::move(formed).value();
    return say({});
  }

  Result<std::vector<uint8_t>> reduced(const test::ReduceCase& c) {
    auto data = test::rank_data(c, group_->rank());
    TRY(group_->all_reduce(c.dtype, data.data(), c.count, {}));
    return data;
  }

  bool reduce(std::istringstream& words) {
    test::ReduceCase c;
    words >> c.count >> c.seed;
    const auto data = reduced(c);
    if (!data.ok()) return say(data.error());
    answer(data.value() == test::expected_sum(c, group_->size()) ? "ok" : "wrong");
    return true;
  }

  bool reduce_many(std::istringstream& words) {
    uint64_t seed = 0, num_cases = 0, hash = 0;
    words >> seed >> num_cases;
    for (uint64_t i = 0; i < num_cases; ++i) {
      const test::ReduceCase c = test::random_case(seed + i);
      const auto data = reduced(c);
      if (!data.ok()) return say(data.error());
      hash = hash_bytes(data.value(), hash);
      if (data.value() == test::expected_sum(c, group_->size())) continue;
      answer("wrong " + std::to_string(i));
      return true;
    }
    answer("ok " + std::to_string(hash));
    return true;
  }

  bool gather(std::istringstream& words) {
    int64_t bytes = 0;
    uint64_t seed = 0;
    words >> bytes >> seed;
    const auto in = test::gather_data(seed, bytes, group_->rank());
    const auto expected = test::expected_gather(seed, bytes, group_->size());
    std::vector<uint8_t> out(expected.size(), 0xee);
    const auto result = group_->all_gather(in.data(), out.data(), bytes, {});
    if (!result.ok()) return say(result);
    answer(out == expected ? "ok" : "wrong");
    return true;
  }

  bool barrier_until_abort() {
    std::chrono::steady_clock::time_point aborted;
    std::thread listener([&] {
      std::string line;
      std::getline(std::cin, line);
      aborted = std::chrono::steady_clock::now();
      group_->abort();
    });
    answer("waiting");
    const auto result = group_->barrier();
    const auto ended = std::chrono::steady_clock::now();
    listener.join();
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(ended - aborted).count();
    answer(std::to_string(ms) + " " + told(result));
    return true;
  }

  std::unique_ptr<UcxEndpoint> endpoint_;
  std::unique_ptr<TpGroup> group_;
};

int run() {
  Rank rank;
  for (std::string line; std::getline(std::cin, line);) {
    if (!rank.obey(line)) return 2;
  }
  return 0;
}

}  // namespace
}  // namespace mimo::parallel

int main() { return mimo::parallel::run(); }
