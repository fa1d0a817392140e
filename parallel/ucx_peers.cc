#include "parallel/ucx_peers.h"

#include <algorithm>
#include <cstring>

#include "base/log.h"

namespace mimo::parallel {
namespace {

constexpr unsigned kMessageId = 1;
constexpr uint32_t kMagic = 0x31475855;  // "UXG1"
constexpr char kNoPayload = 0;
// A goodbye that a peer's full socket does not take within this time is not said: the peer sees the
// connection end. Short, since an aborted call must return within 100 ms.
constexpr int64_t kGoodbyeMs = 40;
constexpr size_t kReasonBytesMax = 1000;
// UCX needs no peer to close by force: this has always been a matter of microseconds.
constexpr int64_t kCloseMs = 500;

}  // namespace

UcxPeers::UcxPeers(std::unique_ptr<UcxWorker> worker, int32_t rank, int32_t size, Epoch epoch)
    : worker_(std::move(worker)), rank_(rank), epoch_(epoch), peers_(size) {
  for (Peer& peer : peers_) peer.all = this;
}

UcxPeers::~UcxPeers() { close(std::nullopt); }

Result<std::unique_ptr<UcxPeers>> UcxPeers::connect(std::unique_ptr<UcxWorker> worker, int32_t rank,
                                                    const std::vector<std::string>& addresses,
                                                    Epoch epoch) {
  const auto size = static_cast<int32_t>(addresses.size());
  std::unique_ptr<UcxPeers> out(new UcxPeers(std::move(worker), rank, size, epoch));
  ucp_am_handler_param_t handler{};
  handler.field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_CB |
                       UCP_AM_HANDLER_PARAM_FIELD_ARG;
  handler.id = kMessageId;
  handler.cb = &UcxPeers::on_message;
  handler.arg = out.get();
  const auto status = ucp_worker_set_am_recv_handler(out->worker_->get(), &handler);
  if (status != UCS_OK) return ucx_error("ucp_worker_set_am_recv_handler", status);
  for (int32_t r = 0; r < size; ++r) {
    if (r != rank) TRY(out->open_endpoint(r, addresses[r]));
  }
  return out;
}

Result<void> UcxPeers::open_endpoint(int32_t to, const std::string& address) {
  TRY_ASSIGN(const auto packed, UcxWorker::parse_address(address));
  ucp_ep_params_t params{};
  params.field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS | UCP_EP_PARAM_FIELD_ERR_HANDLER |
                      UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE;
  params.address = reinterpret_cast<const ucp_address_t*>(packed.data());
  params.err_mode = UCP_ERR_HANDLING_MODE_PEER;
  params.err_handler.cb = &UcxPeers::on_error;
  params.err_handler.arg = &peers_[to];
  const auto status = ucp_ep_create(worker_->get(), &params, &peers_[to].ep);
  if (status == UCS_OK) return {};
  peers_[to].ep = nullptr;
  return ucx_error("rank " + std::to_string(to) + " cannot be reached", status);
}

void UcxPeers::start(const CollectiveCall& call) {
  CHECK_EQ(num_sending_, 0);
  call_ = call;
  ++seq_;
}

UcxPeers::Header UcxPeers::header(int phase, int64_t bytes) const {
  Header out;
  out.magic = kMagic;
  out.kind = static_cast<uint8_t>(call_.kind);
  out.dtype = static_cast<uint8_t>(call_.dtype);
  out.phase = static_cast<uint8_t>(phase);
  out.epoch = epoch_.value;
  out.seq = seq_;
  out.count = call_.count;
  out.bytes = bytes;
  out.rank = rank_;
  out.num_ranks = size();
  return out;
}

void UcxPeers::send(int32_t to, int phase, const void* data, int64_t bytes) {
  Peer& peer = peers_[to];
  if (peer.lost) return;
  peer.outbox[phase] = header(phase, bytes);
  post(peer, peer.outbox[phase], data);
}

void UcxPeers::post(Peer& peer, Header& header, const void* data) {
  ucp_request_param_t param{};
  param.op_attr_mask =
      UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA | UCP_OP_ATTR_FIELD_FLAGS;
  param.flags = UCP_AM_SEND_FLAG_EAGER;
  param.cb.send = &UcxPeers::on_sent;
  param.user_data = this;
  // Only a payload goes by UCX's zero-copy path (ZCOPY_THRESH is 0), whose sends are complete when
  // the kernel has every byte. Copied ones may leave a tail in UCX's buffer, to move on with our
  // next call, whenever that is; and a flush would wait for the peer, which may be computing.
  const void* payload = header.bytes > 0 ? data : &kNoPayload;
  const ucs_status_ptr_t request =
      ucp_am_send_nbx(peer.ep, kMessageId, &header, sizeof(header), payload,
                      static_cast<size_t>(std::max<int64_t>(header.bytes, 1)), &param);
  if (UCS_PTR_IS_ERR(request)) {
    peer.lost = ucs_status_string(UCS_PTR_STATUS(request));
  } else if (request != nullptr) {
    ++num_sending_;
  }
}

void UcxPeers::on_sent(void* request, ucs_status_t, void* self) {
  // A failed send means a lost peer, which on_error tells.
  --static_cast<UcxPeers*>(self)->num_sending_;
  ucp_request_free(request);
}

void UcxPeers::on_error(void* peer, ucp_ep_h, ucs_status_t status) {
  auto& lost = static_cast<Peer*>(peer)->lost;
  if (!lost) lost = ucs_status_string(status);
}

ucs_status_t UcxPeers::on_message(void* self, const void* header, size_t header_bytes, void* data,
                                  size_t bytes, const ucp_am_recv_param_t* param) {
  auto& peers = *static_cast<UcxPeers*>(self);
  Header copy;
  if (header_bytes != sizeof(copy)) {
    if (!peers.fatal_) {
      peers.fatal_ = internal_error("a message with a header of " + std::to_string(header_bytes) +
                                    " bytes, expected " + std::to_string(sizeof(copy)));
    }
    return UCS_OK;
  }
  std::memcpy(&copy, header, sizeof(copy));
  return peers.take(copy, data, bytes, *param);
}

// Why a message cannot be taken.
std::optional<Error> UcxPeers::check(const Header& header, size_t payload_bytes) const {
  const std::string who = "rank " + std::to_string(header.rank);
  const auto wrong = [&](const char* what, int64_t got, int64_t expected) {
    return internal_error(who + " sent " + what + " " + std::to_string(got) + ", expected " +
                          std::to_string(expected));
  };
  if (header.magic != kMagic) return wrong("magic", header.magic, kMagic);
  if (header.num_ranks != size()) return wrong("group size", header.num_ranks, size());
  if (header.rank < 0 || header.rank >= size() || header.rank == rank_) {
    return internal_error("a message from " + who + " came to rank " + std::to_string(rank_) +
                          " of " + std::to_string(size()));
  }
  if (header.epoch != epoch_.value) {
    return Error{Code::kFailedPrecondition, who + " is of epoch " + std::to_string(header.epoch) +
                                                ", this rank of " + std::to_string(epoch_.value)};
  }
  if (header.bytes < 0 ||
      static_cast<size_t>(std::max<int64_t>(header.bytes, 1)) != payload_bytes) {
    return wrong("payload bytes", static_cast<int64_t>(payload_bytes), header.bytes);
  }
  if (header.kind == static_cast<uint8_t>(CollectiveCall::Kind::kGoodbye)) return std::nullopt;
  if (header.phase >= kNumPhases) return wrong("phase", header.phase, 0);
  if (header.seq != seq_ && header.seq != seq_ + 1) return wrong("operation", header.seq, seq_);
  if (peers_[header.rank].inbox[header.seq & 1][header.phase].here) {
    return internal_error(who + " sent operation " + std::to_string(header.seq) + " twice");
  }
  return std::nullopt;
}

ucs_status_t UcxPeers::take(const Header& header, void* data, size_t bytes,
                            const ucp_am_recv_param_t& param) {
  if (header.magic == kMagic && header.epoch < epoch_.value) {
    // Left over from an earlier formation: not ours, and no harm.
    log_warning("stale_epoch_refused",
                {{"rank", header.rank}, {"epoch", header.epoch}, {"expected_epoch", epoch_.value}});
    return UCS_OK;
  }
  auto error = check(header, bytes);
  if (!error && (param.recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) != 0) {
    error = internal_error("rank " + std::to_string(header.rank) +
                           " offered a rendezvous, expected an eager message");
  }
  if (error) {
    if (!fatal_) fatal_ = std::move(error);
    return UCS_OK;
  }
  if (header.kind == static_cast<uint8_t>(CollectiveCall::Kind::kGoodbye)) {
    take_goodbye(header, data);
    return UCS_OK;
  }
  Message& slot = peers_[header.rank].inbox[header.seq & 1][header.phase];
  slot.here = true;
  slot.call = {static_cast<CollectiveCall::Kind>(header.kind), static_cast<DType>(header.dtype),
               header.count};
  slot.bytes = header.bytes;
  if ((param.recv_attr & UCP_AM_RECV_ATTR_FLAG_DATA) != 0) {
    slot.held = data;
    slot.data = data;
    return UCS_INPROGRESS;  // ours until release()
  }
  const auto* begin = static_cast<const uint8_t*>(data);
  slot.copy.assign(begin, begin + bytes);
  slot.data = slot.copy.data();
  return UCS_OK;
}

// count is the reason's code, the payload its sentence; both absent when a rank just leaves.
void UcxPeers::take_goodbye(const Header& header, const void* data) {
  peers_[header.rank].left = true;
  if (header.count == 0 || fatal_) return;
  const auto code = header.count > 0 && header.count <= static_cast<int64_t>(Code::kUnauthenticated)
                        ? static_cast<Code>(header.count)
                        : Code::kUnknown;
  const std::string reason(static_cast<const char*>(data), static_cast<size_t>(header.bytes));
  fatal_ = Error{code, "rank " + std::to_string(header.rank) + " gave up: " + reason};
}

Result<void> UcxPeers::receive_all(int phase, const Deadline& deadline) {
  const auto is_missing = [&](int32_t r) { return r != rank_ && !message(r, phase).here; };
  // A rank that left in order may have been one operation ahead: what it sent still counts. A rank
  // that died in the middle of this one would be missed in the next.
  const auto is_lost = [&](int32_t r) {
    return is_missing(r) ? peers_[r].lost || peers_[r].left : peers_[r].lost && !peers_[r].left;
  };
  const auto settled = [&] {
    if (fatal_) return true;
    bool all = true;
    for (int32_t r = 0; r < size(); ++r) {
      if (is_lost(r)) return true;
      if (is_missing(r)) all = false;
    }
    return all;
  };
  TRY_ASSIGN(const bool in_time, worker_->progress_until(settled, deadline));
  if (fatal_) return *fatal_;
  for (int32_t r = 0; r < size(); ++r) {
    if (!is_lost(r)) continue;
    const std::string who = call_.to_string() + ": rank " + std::to_string(r);
    if (peers_[r].left) return unavailable(who + " left the group");
    return unavailable(who + " is lost: " + *peers_[r].lost);
  }
  if (!in_time) {
    return Error{Code::kDeadlineExceeded,
                 call_.to_string() + ": no word from " + missing(phase) + " in time"};
  }
  for (int32_t r = 0; r < size(); ++r) {
    if (r == rank_ || message(r, phase).call == call_) continue;
    return call_mismatch(r, message(r, phase).call, rank_, call_);
  }
  return {};
}

Result<const void*> UcxPeers::received(int32_t from, int phase, int64_t bytes) const {
  const Message& got = message(from, phase);
  CHECK(got.here);
  if (got.bytes == bytes) return got.data;
  return internal_error(call_.to_string() + ": rank " + std::to_string(from) + " sent " +
                        std::to_string(got.bytes) + " bytes, expected " + std::to_string(bytes));
}

Result<void> UcxPeers::sent(const Deadline& deadline) {
  TRY_ASSIGN(const bool done, worker_->progress_until([&] { return num_sending_ == 0; }, deadline));
  if (done) return {};
  return Error{Code::kDeadlineExceeded,
               call_.to_string() + ": a rank took no bytes from us in time"};
}

Result<void> UcxPeers::finish(const Deadline& deadline) {
  TRY(sent(deadline));
  for (Peer& peer : peers_) {
    for (Message& message : peer.inbox[seq_ & 1]) release(message);
  }
  return {};
}

void UcxPeers::release(Message& message) {
  if (message.held != nullptr) ucp_am_data_release(worker_->get(), message.held);
  message.held = nullptr;
  message.data = nullptr;
  message.here = false;
}

std::string UcxPeers::missing(int phase) const {
  std::string out;
  for (int32_t r = 0; r < size(); ++r) {
    if (r == rank_ || message(r, phase).here) continue;
    out += (out.empty() ? "rank " : ", rank ") + std::to_string(r);
  }
  return out;
}

void UcxPeers::close(const std::optional<Error>& reason) {
  if (worker_->get() == nullptr) return;
  const std::string text = reason ? reason->message.substr(0, kReasonBytesMax) : "";
  call_ = {CollectiveCall::Kind::kGoodbye, DType::kF32,
           reason ? static_cast<int64_t>(reason->code) : 0};
  for (Peer& peer : peers_) {
    if (peer.ep == nullptr || peer.lost) continue;
    peer.outbox[kNumPhases] = header(0, static_cast<int64_t>(text.size()));
    post(peer, peer.outbox[kNumPhases], text.data());
  }
  worker_->drain_until([&] { return num_sending_ == 0; }, Deadline::after_ms(kGoodbyeMs));
  close_endpoints();
  for (Peer& peer : peers_) {
    for (auto& slots : peer.inbox) {
      for (Message& message : slots) release(message);
    }
  }
  // Connections that peers made to us close here, so that no peer waits for us in vain.
  worker_->shut();
  if (num_sending_ != 0) log_error("ucx_sends_not_ended", {{"count", num_sending_}});
}

// By force: what the peers should have is in the kernel's hands, and a close that flushes would
// wait for their progress.
void UcxPeers::close_endpoints() {
  std::vector<ucs_status_ptr_t> closing;
  for (Peer& peer : peers_) {
    if (peer.ep == nullptr) continue;
    ucp_request_param_t param{};
    param.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
    param.flags = UCP_EP_CLOSE_FLAG_FORCE;
    const ucs_status_ptr_t request = ucp_ep_close_nbx(peer.ep, &param);
    if (request != nullptr && !UCS_PTR_IS_ERR(request)) closing.push_back(request);
    peer.ep = nullptr;
    if (!peer.lost) peer.lost = "closed";
  }
  const auto closed = [&] {
    for (const ucs_status_ptr_t request : closing) {
      if (ucp_request_check_status(request) == UCS_INPROGRESS) return false;
    }
    return num_sending_ == 0;
  };
  worker_->drain_until(closed, Deadline::after_ms(kCloseMs));
  for (const ucs_status_ptr_t request : closing) ucp_request_free(request);
}

}  // namespace mimo::parallel
