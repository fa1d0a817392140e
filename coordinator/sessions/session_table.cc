#include "coordinator/sessions/session_table.h"

namespace mimo::coordinator {

Result<void> SessionTable::add(const std::shared_ptr<LiveSession>& live) {
  std::lock_guard lock(mutex_);
  if (!numbers_.emplace(live->request_id, next_number_).second)
    return Error{Code::kAlreadyExists,
                 "request_id = \"" + live->request_id + "\": a request of this id is live"};
  live->number = next_number_++;
  sessions_.emplace(live->number, live);
  return {};
}

void SessionTable::free_id(const LiveSession& live) {
  std::lock_guard lock(mutex_);
  const auto found = numbers_.find(live.request_id);
  if (found != numbers_.end() && found->second == live.number) numbers_.erase(found);
}

void SessionTable::remove(const LiveSession& live) {
  std::lock_guard lock(mutex_);
  const auto found = numbers_.find(live.request_id);
  if (found != numbers_.end() && found->second == live.number) numbers_.erase(found);
  sessions_.erase(live.number);
}

std::shared_ptr<LiveSession> SessionTable::find_id(const std::string& request_id) const {
  std::lock_guard lock(mutex_);
  const auto number = numbers_.find(request_id);
  if (number == numbers_.end()) return nullptr;
  return sessions_.at(number->second);
}

std::shared_ptr<LiveSession> SessionTable::find_number(int64_t number) const {
  std::lock_guard lock(mutex_);
  const auto found = sessions_.find(number);
  return found == sessions_.end() ? nullptr : found->second;
}

std::vector<std::shared_ptr<LiveSession>> SessionTable::all() const {
  std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<LiveSession>> sessions;
  sessions.reserve(sessions_.size());
  for (const auto& [number, live] : sessions_) sessions.push_back(live);
  return sessions;
}

}  // namespace mimo::coordinator
