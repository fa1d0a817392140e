#pragma once

#include <cstdint>
#include <ctime>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "coordinator/template/object.h"
#include "coordinator/template/template_limits.h"
#include "coordinator/template/value.h"

namespace mimo::chat {

// What one rendering may still use, and what it has to clean up. Everything that makes a value or
// looks at many goes through it, so that no template runs away.
//
// Thread:    the rendering's.
// Lifetime:  outlives every value made while rendering.
class Machine final {
 public:
  Machine(const TemplateLimits& limits, const std::tm& now) : limits_(limits), now_(now) {
    steps_left_ = limits.steps_max;
  }
  ~Machine();
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  const TemplateLimits& limits() const { return limits_; }
  const std::tm& now() const { return now_; }

  // False: the template has had its steps; return exhausted().
  bool spend(int64_t steps) { return (steps_left_ -= steps) >= 0; }
  Error exhausted() const;
  // Whether a string of so many bytes may be made at all.
  Result<void> fits(int64_t bytes) const;

  // Values, charged by their size and bounded in size and depth.
  Result<Value> text(std::string bytes, bool markup = false);
  Result<Value> list(std::vector<Value> items);
  Result<Value> tuple(std::vector<Value> items);
  Result<Value> dict(Dict dict);
  Result<Value> object(std::shared_ptr<Object> object);
  Result<Value> make_namespace(Dict attributes);

  // Showing what may hold itself: false when it goes too deep.
  bool enter_repr() { return ++repr_depth_ <= kReprDepth; }
  void leave_repr() { --repr_depth_; }

  // raise_exception: `message` is the rendering's error, as it is.
  Error raise(std::string message);
  bool was_raised() const { return was_raised_; }

 private:
  static constexpr int32_t kReprDepth = 16;

  Result<Value> checked(Value value, size_t num_items);

  TemplateLimits limits_;
  std::tm now_;
  int64_t steps_left_ = 0;
  bool was_raised_ = false;
  int32_t repr_depth_ = 0;
  std::vector<std::shared_ptr<Namespace>> namespaces_;
};

}  // namespace mimo::chat
