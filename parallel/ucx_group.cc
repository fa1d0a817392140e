#include <cstring>
#include <optional>

#include "parallel/ordered_sum.h"
#include "parallel/ucx_endpoint.h"
#include "parallel/ucx_peers.h"

namespace mimo::parallel {
namespace {

// Above this many bytes a sum over more than two ranks is cut among them (reduce-scatter, then
// all-gather); below, everybody sends everything to everybody. 4 ranks on 2 Zen 3 cores, exchange
// against cut: 1 KB 122 and 216 us, 16 KB 170 and 235, 64 KB 290 and 265, 256 KB 6,600 and 620. Two
// ranks move the same bytes either way, and the exchange is one message shorter.
constexpr int64_t kExchangeBytesMax = 64 * 1024;

using Kind = CollectiveCall::Kind;

// Thread:    one at a time; abort() from any.
class UcxRank final : public TpGroup {
 public:
  UcxRank(std::unique_ptr<UcxPeers> peers, int64_t timeout_ms)
      : peers_(std::move(peers)), timeout_ms_(timeout_ms), inputs_(peers_->size()) {}

  int32_t rank() const override { return peers_->rank(); }
  int32_t size() const override { return peers_->size(); }

  // Returns when every rank has said hello with the same epoch and size.
  Result<void> greet() {
    return run({Kind::kHello, DType::kF32, size()},
               [&](const Deadline& deadline) { return exchange(nullptr, 0, deadline); });
  }

  Result<void> all_reduce(DType dtype, void* data, int64_t count, Stream stream) override {
    CHECK(stream.handle == nullptr);
    CHECK_GE(count, 0);
    TRY(check_summable(dtype));
    return run({Kind::kAllReduce, dtype, count}, [&](const Deadline& deadline) {
      const bool cut = size() > 2 && count * dtype_bytes(dtype) > kExchangeBytesMax;
      return cut ? reduce_by_slices(dtype, data, count, deadline)
                 : reduce_by_exchange(dtype, data, count, deadline);
    });
  }

  Result<void> all_gather(const void* in, void* out, int64_t bytes, Stream stream) override {
    CHECK(stream.handle == nullptr);
    CHECK_GE(bytes, 0);
    return run({Kind::kAllGather, DType::kF32, bytes}, [&](const Deadline& deadline) {
      return gather(in, static_cast<char*>(out), bytes, deadline);
    });
  }

  Result<void> barrier() override {
    return run({Kind::kBarrier, DType::kF32, 0},
               [&](const Deadline& deadline) { return exchange(nullptr, 0, deadline); });
  }

  void abort() override { peers_->aborted().set(); }

 private:
  // One operation from start to finish; its first error breaks the group.
  template <typename Body>
  Result<void> run(const CollectiveCall& call, const Body& body) {
    if (broken_) return *broken_;
    const Deadline deadline = Deadline::after_ms(timeout_ms_);
    Result<void> result = unavailable("aborted");
    if (!peers_->aborted().is_set()) {
      peers_->start(call);
      result = body(deadline);
      if (result.ok()) result = peers_->finish(deadline);
    }
    if (!result.ok()) {
      broken_ = result.error();
      peers_->close(broken_);  // the others need not wait for their own timeout
    }
    return result;
  }

  void send_to_all(int phase, const void* data, int64_t bytes) {
    // Starting behind our own rank: not everybody to rank 0 first.
    for (int32_t i = 1; i < size(); ++i) {
      peers_->send((rank() + i) % size(), phase, data, bytes);
    }
  }

  Result<void> exchange(const void* data, int64_t bytes, const Deadline& deadline) {
    send_to_all(0, data, bytes);
    return peers_->receive_all(0, deadline);
  }

  // inputs_[r] = rank r's `bytes` bytes of this phase; our own are at `own`.
  Result<void> find_inputs(int phase, const void* own, int64_t bytes) {
    for (int32_t r = 0; r < size(); ++r) {
      if (r == rank()) {
        inputs_[r] = own;
        continue;
      }
      TRY_ASSIGN(inputs_[r], peers_->received(r, phase, bytes));
    }
    return {};
  }

  Result<void> reduce_by_exchange(DType dtype, void* data, int64_t count,
                                  const Deadline& deadline) {
    const int64_t bytes = count * dtype_bytes(dtype);
    TRY(exchange(data, bytes, deadline));
    TRY(find_inputs(0, data, bytes));
    TRY(peers_->sent(deadline));
    ordered_sum(dtype, inputs_, data, count);
    return {};
  }

  // Rank r sums slice r in the same order as the exchange would, so the bits are the same.
  Result<void> reduce_by_slices(DType dtype, void* data, int64_t count, const Deadline& deadline) {
    const int64_t each = dtype_bytes(dtype);
    const auto at = [&](const Slice& slice) {
      return static_cast<char*>(data) + slice.begin * each;
    };
    for (int32_t i = 1; i < size(); ++i) {
      const int32_t to = (rank() + i) % size();
      const Slice slice = rank_slice(count, size(), to);
      peers_->send(to, 0, at(slice), slice.count() * each);
    }
    TRY(peers_->receive_all(0, deadline));
    const Slice own = rank_slice(count, size(), rank());
    TRY(find_inputs(0, at(own), own.count() * each));
    ordered_sum(dtype, inputs_, at(own), own.count());

    send_to_all(1, at(own), own.count() * each);
    TRY(peers_->receive_all(1, deadline));
    TRY(peers_->sent(deadline));
    for (int32_t r = 0; r < size(); ++r) {
      if (r == rank()) continue;
      const Slice slice = rank_slice(count, size(), r);
      TRY_ASSIGN(const void* sum, peers_->received(r, 1, slice.count() * each));
      std::memcpy(at(slice), sum, slice.count() * each);
    }
    return {};
  }

  Result<void> gather(const void* in, char* out, int64_t bytes, const Deadline& deadline) {
    TRY(exchange(in, bytes, deadline));
    TRY(find_inputs(0, in, bytes));
    TRY(peers_->sent(deadline));
    for (int32_t r = 0; r < size() && bytes > 0; ++r) {
      if (inputs_[r] != out + r * bytes) std::memcpy(out + r * bytes, inputs_[r], bytes);
    }
    return {};
  }

  const std::unique_ptr<UcxPeers> peers_;
  const int64_t timeout_ms_;
  std::vector<const void*> inputs_;  // [size], kept to allocate once
  std::optional<Error> broken_;
};

}  // namespace

Result<std::unique_ptr<TpGroup>> UcxEndpoint::form(int32_t rank,
                                                   const std::vector<std::string>& addresses,
                                                   Epoch epoch, int64_t timeout_ms) {
  CHECK(worker_ != nullptr);
  const auto size = static_cast<int32_t>(addresses.size());
  if (rank < 0 || rank >= size) {
    return invalid_argument("rank " + std::to_string(rank) + ": expected 0 .. size - 1 with " +
                            std::to_string(size) + " addresses");
  }
  if (addresses[rank] != address_) {
    return invalid_argument("the address of rank " + std::to_string(rank) +
                            " is not this process's endpoint");
  }
  const std::string context = "group of epoch " + std::to_string(epoch.value);
  auto peers = UcxPeers::connect(std::move(worker_), rank, addresses, epoch);
  if (!peers.ok()) return peers.error().with_context(context);
  auto out = std::make_unique<UcxRank>(std::move(peers).value(), timeout_ms);
  if (auto greeted = out->greet(); !greeted.ok()) return greeted.error().with_context(context);
  return std::unique_ptr<TpGroup>(std::move(out));
}

}  // namespace mimo::parallel
