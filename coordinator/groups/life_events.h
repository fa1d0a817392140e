#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "base/log.h"
#include "base/result.h"
#include "base/units.h"

namespace mimo::coordinator {

// One Join stream. A worker that dials again comes over a new one.
using StreamId = StrongId<struct StreamTag, int64_t>;

// What a worker says of itself when it joins.
struct WorkerFacts {
  std::string worker_id;
  std::string address;
  std::string backend;
  int64_t last_epoch = 0;
  std::string held_key;  // the shard that it holds, empty: none
  int32_t held_rank = -1;
};

// What a rank says of its pools; the same on every rank of a group.
struct RankFigures {
  int32_t full_pages = 0;
  int32_t window_pages = 0;
  int32_t sequences_max = 0;
  bool operator==(const RankFigures&) const = default;
};

// What happens to a group. Events of a stream that is not known (any more) are dropped.
namespace life {

struct Joined {
  StreamId worker;
  WorkerFacts facts;
};
struct Prepared {
  StreamId worker;
  int64_t epoch = 0;
  std::string group_address;
  std::string plan_address;
  int64_t kv_bytes = 0;  // that the rank can give both pools; 0 where it was told
};
struct Ready {
  StreamId worker;
  int64_t epoch = 0;
  bool kept_weights = false;
  RankFigures figures;
};
// The worker's epoch is over on its side, and this is the shard that it holds now.
struct Ended {
  StreamId worker;
  int64_t epoch = 0;
  Error error;
  std::string held_key;
  int32_t held_rank = -1;
};
// Anything at all was heard of the worker.
struct Heard {
  StreamId worker;
};
// The stream broke or was ended by the worker.
struct Left {
  StreamId worker;
  Error error;
};
struct LeaderOpened {
  int64_t epoch = 0;
};
struct LeaderLost {
  int64_t epoch = 0;
  Error error;
};
// Time has passed.
struct Tick {};
// Every worker is to exit.
struct ShutDown {};

}  // namespace life

using LifeEvent =
    std::variant<life::Joined, life::Prepared, life::Ready, life::Ended, life::Heard, life::Left,
                 life::LeaderOpened, life::LeaderLost, life::Tick, life::ShutDown>;

// What is to be done about it, in this order.
namespace life {

struct SendAssign {
  StreamId worker;
  int64_t epoch = 0;
  int32_t rank = 0;
};
struct SendForm {
  StreamId worker;
  int64_t epoch = 0;
  std::vector<std::string> group_addresses;  // by rank
  std::string plan_address;
  int64_t kv_bytes = 0;  // the least that a rank can give
};
struct SendEnd {
  StreamId worker;
  int64_t epoch = 0;
  std::string reason;
};
struct SendShutdown {
  StreamId worker;
};
// The worker is forgotten already; its stream is to be ended with this status.
struct HangUp {
  StreamId worker;
  Error reason;
};
// Answered by LeaderOpened or LeaderLost.
struct OpenLeader {
  int64_t epoch = 0;
  std::string address;
};
struct StartServing {
  int64_t epoch = 0;
};
// Follows every OpenLeader once, also when the leader was lost by itself. `served`: StartServing
// came before.
struct CloseLeader {
  int64_t epoch = 0;
  bool served = false;
  Error reason;
};
struct LogEvent {
  LogLevel level = LogLevel::kInfo;
  std::string event;
  std::vector<LogField> fields;
};

}  // namespace life

using LifeAction =
    std::variant<life::SendAssign, life::SendForm, life::SendEnd, life::SendShutdown, life::HangUp,
                 life::OpenLeader, life::StartServing, life::CloseLeader, life::LogEvent>;

}  // namespace mimo::coordinator
