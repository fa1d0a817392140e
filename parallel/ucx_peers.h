#pragma once

#include <ucp/api/ucp.h>

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/units.h"
#include "parallel/collective_call.h"
#include "parallel/ucx_worker.h"

namespace mimo::parallel {

// The other ranks of a UCX group: messages out, messages in, who is lost. An operation is start(),
// then for each of its phases send() to every peer and receive_all(), then finish().
//
// Thread:    one at a time, with the worker.
// Invariant: a peer is at most one operation ahead (it needs our message to end one), so each peer
//            has two operations' slots, and a third message is a protocol error.
class UcxPeers final {
 public:
  static constexpr int kNumPhases = 2;

  static Result<std::unique_ptr<UcxPeers>> connect(std::unique_ptr<UcxWorker> worker, int32_t rank,
                                                   const std::vector<std::string>& addresses,
                                                   Epoch epoch);
  // As close(), without a reason.
  ~UcxPeers();
  UcxPeers(const UcxPeers&) = delete;
  UcxPeers& operator=(const UcxPeers&) = delete;

  int32_t rank() const { return rank_; }
  int32_t size() const { return static_cast<int32_t>(peers_.size()); }
  AbortEvent& aborted() { return worker_->aborted(); }

  void start(const CollectiveCall& call);
  // `data` is borrowed until sent() or finish(). To a lost peer: nothing, and no error: what is
  // missing from it decides.
  void send(int32_t to, int phase, const void* data, int64_t bytes);
  // Returns when every peer's message of this phase is here and is for the same call.
  Result<void> receive_all(int phase, const Deadline& deadline);
  // What receive_all() found, until finish(). kInternal when it is not `bytes` long.
  Result<const void*> received(int32_t from, int phase, int64_t bytes) const;
  // Returns when UCX needs none of the data given to send() any more.
  Result<void> sent(const Deadline& deadline);
  // The same, and gives up what was received. Every byte is in the kernel's hands then: the peers
  // get them although this rank goes away computing.
  Result<void> finish(const Deadline& deadline);

  // Says goodbye and closes every connection. With a reason (ours alone, or what another rank told)
  // the peers' operations end at once with it; without one they lose nothing that was sent.
  // Borrowed data is free afterwards.
  void close(const std::optional<Error>& reason);

 private:
  struct Message {
    bool here = false;
    CollectiveCall call;
    const void* data = nullptr;
    int64_t bytes = 0;
    void* held = nullptr;       // UCX's buffer, to be given back
    std::vector<uint8_t> copy;  // ours, when UCX keeps its own; reused
  };
  // As sent: both ends have the same byte order.
  struct Header {
    uint32_t magic = 0;
    uint8_t kind = 0;
    uint8_t dtype = 0;
    uint8_t phase = 0;
    uint8_t zero = 0;
    int64_t epoch = 0;
    int64_t seq = 0;
    int64_t count = 0;
    int64_t bytes = 0;  // of the payload; 0 travels as one byte, see send()
    int32_t rank = 0;
    int32_t num_ranks = 0;
  };
  struct Peer {
    UcxPeers* all = nullptr;
    ucp_ep_h ep = nullptr;
    std::optional<std::string> lost;  // why it sends nothing more
    bool left = false;                // it said goodbye
    // [sequence number & 1][phase]
    std::array<std::array<Message, kNumPhases>, 2> inbox;
    // Must live until UCX has sent them.
    std::array<Header, kNumPhases + 1> outbox;  // the last one for the goodbye
  };

  UcxPeers(std::unique_ptr<UcxWorker> worker, int32_t rank, int32_t size, Epoch epoch);
  Result<void> open_endpoint(int32_t to, const std::string& address);
  ucs_status_t take(const Header& header, void* data, size_t bytes,
                    const ucp_am_recv_param_t& param);
  std::optional<Error> check(const Header& header, size_t payload_bytes) const;
  Message& message(int32_t from, int phase) { return peers_[from].inbox[seq_ & 1][phase]; }
  const Message& message(int32_t from, int phase) const {
    return peers_[from].inbox[seq_ & 1][phase];
  }
  std::string missing(int phase) const;
  void release(Message& message);
  void take_goodbye(const Header& header, const void* data);
  void post(Peer& peer, Header& header, const void* data);
  Header header(int phase, int64_t bytes) const;
  void close_endpoints();

  static ucs_status_t on_message(void* self, const void* header, size_t header_bytes, void* data,
                                 size_t bytes, const ucp_am_recv_param_t* param);
  static void on_sent(void* request, ucs_status_t status, void* self);
  static void on_error(void* peer, ucp_ep_h ep, ucs_status_t status);

  std::unique_ptr<UcxWorker> worker_;
  const int32_t rank_;
  const Epoch epoch_;
  std::vector<Peer> peers_;  // index = rank; our own has no endpoint
  int64_t seq_ = -1;         // of the operation under way, or of the last one
  CollectiveCall call_;
  int64_t num_sending_ = 0;     // sends that UCX has not completed
  std::optional<Error> fatal_;  // found while a message was taken
};

}  // namespace mimo::parallel
