#include "parallel/collective_call.h"

namespace mimo::parallel {

std::string CollectiveCall::to_string() const {
  switch (kind) {
    case Kind::kHello:
      return "hello";
    case Kind::kAllReduce:
      return "all_reduce of " + std::to_string(count) + " " + dtype_name(dtype);
    case Kind::kAllGather:
      return "all_gather of " + std::to_string(count) + " bytes";
    case Kind::kBarrier:
      return "barrier";
    case Kind::kGoodbye:
      return "goodbye";
  }
  return "call of unknown kind " + std::to_string(static_cast<int>(kind));
}

Result<void> check_summable(DType dtype) {
  if (dtype == DType::kF32 || dtype == DType::kBf16) return {};
  return invalid_argument(std::string("all_reduce of ") + dtype_name(dtype) +
                          ", expected F32 or BF16");
}

Error call_mismatch(int32_t got_rank, const CollectiveCall& got, int32_t expected_rank,
                    const CollectiveCall& expected) {
  return internal_error("rank " + std::to_string(got_rank) + " called " + got.to_string() +
                        ", expected " + expected.to_string() + " as on rank " +
                        std::to_string(expected_rank));
}

}  // namespace mimo::parallel
