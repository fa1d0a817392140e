#pragma once

#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>

#include "base/result.h"

namespace mimo::checkpoint {

// Reads the fields of one JSON object and knows which were asked for, so that what nobody asked for
// can be refused. The first thing that is wrong is kept and told by done(); after it every read
// answers a default.
//
// Thread:   one. For .cc files: it brings the whole JSON library.
// Lifetime: the object outlives this.
class JsonFields final {
 public:
  // `path` names the object in messages; the file itself is "".
  JsonFields(const nlohmann::json& object, std::string path);

  // The field; null when it is missing and may be.
  const nlohmann::json& required(const std::string& name);
  const nlohmann::json& optional(const std::string& name);

  bool boolean(const std::string& name);
  std::string text(const std::string& name);
  // The field must be there and be `value`.
  void must_be(const std::string& name, const nlohmann::json& value);
  // The field may be missing or null, or `value`.
  void null_or(const std::string& name, const nlohmann::json& value);

  // Refuses with "<path>.<name> is <value>: expected <expected>".
  void refuse(const std::string& name, const std::string& expected);

  // What went wrong first, a field that nobody asked for included.
  Result<void> done();

 private:
  std::string name_of(const std::string& name) const;
  void fail(std::string message);

  const nlohmann::json& object_;
  std::string path_;
  std::set<std::string> asked_;
  std::string failure_;
};

// A value for a message: short ones as they are, others by their kind.
std::string brief(const nlohmann::json& value);

}  // namespace mimo::checkpoint
