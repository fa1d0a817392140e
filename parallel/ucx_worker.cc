#include "parallel/ucx_worker.h"

#include <ifaddrs.h>
#include <netdb.h>
#include <ucs/debug/log_def.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <mutex>
#include <optional>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/hex.h"
#include "base/log.h"

namespace mimo::parallel {
namespace {

constexpr char kAddressPrefix[] = "ucx1:";
constexpr size_t kAddressBytesMax = 64 * 1024;
// While a peer's process has not yet answered a connection, UCX 1.13 asks epoll whether the socket
// can be written, which it always can: the event fd is ready and there is nothing to do. After so
// many such wake-ups in a row the worker is looked at once a millisecond.
constexpr int kIdleWakesMax = 3;
constexpr size_t kChecksumBytes = sizeof(uint64_t);

std::vector<uint8_t> checksum(std::span<const uint8_t> bytes) {
  ByteWriter writer;
  writer.fixed(hash_bytes(bytes));
  return writer.take();
}

// UCX writes its messages to stdout. They become log lines: what is wrong for us comes back as a
// status and is told there, so a lost peer's "error" is no more than a warning here.
ucs_log_func_rc_t log_ucx(const char*, unsigned, const char*, ucs_log_level_t level,
                          const ucs_log_component_config_t*, const char* format, va_list args) {
  if (level > UCS_LOG_LEVEL_WARN) return UCS_LOG_FUNC_RC_STOP;
  char text[512];
  std::vsnprintf(text, sizeof(text), format, args);
  log_line(level == UCS_LOG_LEVEL_FATAL ? LogLevel::kError : LogLevel::kWarning, "ucx",
           {{"message", text}});
  return UCS_LOG_FUNC_RC_STOP;
}

void send_ucx_log_to_ours() {
  static std::once_flag once;  // UCX's own list of handlers is the process's
  std::call_once(once, [] { ucs_log_push_handler(log_ucx); });
}

// The name of the interface that has this address: "lo", "eth0".
Result<std::string> interface_of(const std::string& host) {
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) return system_error("getifaddrs", errno);
  const std::unique_ptr<ifaddrs, void (*)(ifaddrs*)> holder(list, ::freeifaddrs);
  for (const ifaddrs* at = list; at != nullptr; at = at->ifa_next) {
    if (at->ifa_addr == nullptr) continue;
    const int family = at->ifa_addr->sa_family;
    if (family != AF_INET && family != AF_INET6) continue;
    char name[NI_MAXHOST];
    const socklen_t size = family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
    if (::getnameinfo(at->ifa_addr, size, name, sizeof(name), nullptr, 0, NI_NUMERICHOST) != 0) {
      continue;
    }
    if (host == name) return std::string(at->ifa_name);
  }
  return invalid_argument("bind_host \"" + host + "\": no network interface has this address");
}

Result<ucp_config_t*> make_config(const UcxEndpoint::Options& options) {
  std::string device = "all";
  if (!options.bind_host.empty()) {
    TRY_ASSIGN(device, interface_of(options.bind_host));
  }
  ucp_config_t* config = nullptr;
  if (const auto status = ucp_config_read(nullptr, nullptr, &config); status != UCS_OK) {
    return ucx_error("ucp_config_read", status);
  }
  const std::string segment = std::to_string(options.segment_bytes);
  const std::pair<const char*, std::string> settings[] = {
      {"TLS", options.transports},
      {"NET_DEVICES", device},
      {"TX_SEG_SIZE", segment},
      {"RX_SEG_SIZE", segment},
      // Every payload straight from the caller's memory; ucx_peers.cc says why.
      {"ZCOPY_THRESH", "0"},
      // Always eager: a rendezvous costs two more wake-ups of a sleeping peer than it saves copies.
      {"RNDV_THRESH", "inf"},
  };
  for (const auto& [name, value] : settings) {
    const auto status = ucp_config_modify(config, name, value.c_str());
    if (status == UCS_OK) continue;
    ucp_config_release(config);
    return invalid_argument(std::string("UCX refuses ") + name + "=" + value + ": " +
                            ucs_status_string(status));
  }
  return config;
}

}  // namespace

Error ucx_error(const std::string& what, ucs_status_t status) {
  return unavailable(what + ": " + ucs_status_string(status));
}

Result<std::unique_ptr<UcxWorker>> UcxWorker::create(const UcxEndpoint::Options& options) {
  send_ucx_log_to_ours();
  if (::access("/sys/class/net", R_OK) != 0) {
    return unavailable("/sys/class/net cannot be read: UCX finds no network device without it");
  }
  std::unique_ptr<UcxWorker> out(new UcxWorker());
  TRY_ASSIGN(out->aborted_, AbortEvent::create());
  TRY_ASSIGN(ucp_config_t* const config, make_config(options));

  ucp_params_t params{};
  params.field_mask = UCP_PARAM_FIELD_FEATURES;
  params.features = UCP_FEATURE_AM | UCP_FEATURE_WAKEUP;
  auto status = ucp_init(&params, config, &out->context_);
  ucp_config_release(config);
  if (status != UCS_OK) return ucx_error("ucp_init", status);

  ucp_worker_params_t worker_params{};
  worker_params.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE;
  worker_params.thread_mode = UCS_THREAD_MODE_SERIALIZED;
  status = ucp_worker_create(out->context_, &worker_params, &out->worker_);
  if (status != UCS_OK) return ucx_error("ucp_worker_create", status);
  status = ucp_worker_get_efd(out->worker_, &out->event_fd_);
  if (status != UCS_OK) return ucx_error("ucp_worker_get_efd", status);
  return out;
}

UcxWorker::~UcxWorker() { shut(); }

void UcxWorker::shut() {
  if (worker_ != nullptr) ucp_worker_destroy(std::exchange(worker_, nullptr));
  if (context_ != nullptr) ucp_cleanup(std::exchange(context_, nullptr));
}

Result<std::string> UcxWorker::address() const {
  ucp_address_t* packed = nullptr;
  size_t size = 0;
  if (const auto status = ucp_worker_get_address(worker_, &packed, &size); status != UCS_OK) {
    return ucx_error("ucp_worker_get_address", status);
  }
  const std::span bytes(reinterpret_cast<const uint8_t*>(packed), size);
  const std::string text = kAddressPrefix + to_hex(checksum(bytes)) + to_hex(bytes);
  ucp_worker_release_address(worker_, packed);
  return text;
}

Result<std::vector<uint8_t>> UcxWorker::parse_address(const std::string& text) {
  const Error error = invalid_argument("address \"" + text.substr(0, 40) +
                                       "\": expected a UcxEndpoint's address()");
  const std::string prefix = kAddressPrefix;
  if (text.compare(0, prefix.size(), prefix) != 0) return error;
  const std::string digits = text.substr(prefix.size());
  if (digits.size() > 2 * kAddressBytesMax) return error;
  const std::optional<std::string> decoded = from_hex(digits);
  if (!decoded.has_value()) return error;
  std::vector<uint8_t> bytes(decoded->begin(), decoded->end());
  if (bytes.size() <= kChecksumBytes) return error;
  const std::vector<uint8_t> sum(bytes.begin(), bytes.begin() + kChecksumBytes);
  bytes.erase(bytes.begin(), bytes.begin() + kChecksumBytes);
  // UCX trusts an address: what is not one may end the process.
  if (sum != checksum(bytes)) return error;
  return bytes;
}

void UcxWorker::nap() {
  pollfd fd{event_fd_, POLLIN, 0};
  ::poll(&fd, 1, 1);
}

Result<void> UcxWorker::sleep(const Deadline& deadline, int num_idle_wakes) {
  if (num_idle_wakes > kIdleWakesMax) {
    pollfd fds[1];
    const Deadline soon = Deadline::after_ms(std::min(deadline.remaining_ms(), 1));
    TRY(poll_until(fds, *aborted_, soon));
    return {};
  }
  const auto status = ucp_worker_arm(worker_);
  // Something came between the last progress and here.
  if (status == UCS_ERR_BUSY) return {};
  if (status != UCS_OK) return ucx_error("ucp_worker_arm", status);
  pollfd fds[2] = {{event_fd_, POLLIN, 0}, {}};
  TRY(poll_until(fds, *aborted_, deadline));
  return {};
}

}  // namespace mimo::parallel
