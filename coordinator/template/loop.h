#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "coordinator/template/object.h"

namespace mimo::chat {

// `loop`: where a for stands in what it goes over.
class LoopObject final : public Iterator {
 public:
  // `length` is -1 where it is only known by looking at all items.
  LoopObject(std::shared_ptr<Iterator> source, int64_t length)
      : source_(std::move(source)), length_(length) {
    depth_ = source_->depth() + 2;
  }

  const char* type_name() const override { return "LoopContext"; }
  Result<std::string> repr(Machine& machine) const override;
  Result<Value> call(Machine& machine, const Arguments& arguments) override;
  Result<bool> attribute(Machine& machine, std::string_view name, Value* value) override;
  Result<int64_t> length(Machine& machine) override;
  Result<bool> next(Machine& machine, Value* item) override;

 private:
  // The next item is in after_, unless there is none.
  Result<bool> peek(Machine& machine);
  Result<Value> neighbour(Machine& machine, std::string_view name);
  Value method(std::string_view name);

  std::shared_ptr<Iterator> source_;
  int64_t length_;
  int64_t index0_ = -1;
  std::optional<Value> after_;
  Value current_;
  Value before_;
  std::optional<Value> last_changed_;
};

}  // namespace mimo::chat
