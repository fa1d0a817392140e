#include "coordinator/template/sorting.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "coordinator/template/operators.h"

namespace mimo::chat {

// A merge sort of our own: comparing may fail, and std::stable_sort has no way to say so.
Result<std::vector<size_t>> sorted_order(Machine& machine, const std::vector<Value>& keys,
                                         bool reverse) {
  std::vector<size_t> order(keys.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::vector<size_t> merged(keys.size());
  for (size_t width = 1; width < keys.size(); width *= 2) {
    for (size_t first = 0; first < keys.size(); first += 2 * width) {
      const size_t middle = std::min(first + width, keys.size());
      const size_t last = std::min(first + 2 * width, keys.size());
      size_t left = first;
      size_t right = middle;
      for (size_t at = first; at < last; ++at) {
        bool take_right = left == middle;
        if (left < middle && right < last) {
          const Value& a = keys[order[left]];
          const Value& b = keys[order[right]];
          TRY_ASSIGN(take_right, reverse ? less(machine, a, b) : less(machine, b, a));
        }
        merged[at] = order[take_right ? right++ : left++];
      }
    }
    std::swap(order, merged);
  }
  return order;
}

}  // namespace mimo::chat
