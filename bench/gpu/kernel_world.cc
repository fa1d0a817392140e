#include "bench/gpu/kernel_world.h"

#include <cstdio>

namespace mimo::bench {

void KernelWorld::time_on(cudaStream_t stream, const Line& line, int32_t count,
                          const std::function<void(int32_t)>& body) {
  if (!wants(line)) return;
  const Timing timing = time_in_graph(stream, count, body);
  const double seconds = timing.us * 1e-6;
  const double share_of_bytes = line.bytes / seconds / kRoofBytesPerSecond;
  const double share_of_flops = line.flops / seconds / line.roof_flops;
  std::printf(
      "%-16s %-26s tp%d %6lld tok %7lld ctx %9.2f us  %7.0f GB/s %5.1f%%  %6.0f TF/s %5.1f%%",
      line.op.c_str(), line.shape.c_str(), line.tp, static_cast<long long>(line.num_tokens),
      static_cast<long long>(line.context), timing.us, line.bytes / seconds * 1e-9,
      share_of_bytes * 100, line.flops / seconds * 1e-12, share_of_flops * 100);
  if (line.peer_us > 0) std::printf("  | %s %.1f us", line.peer.c_str(), line.peer_us);
  std::printf("\n");
  std::fflush(stdout);
  std::vector<Field> fields = {{"op", line.op},
                               {"shape", line.shape},
                               {"tp", line.tp},
                               {"tokens", line.num_tokens},
                               {"context", line.context},
                               {"us", timing.us},
                               {"us_p10", timing.p10},
                               {"us_p90", timing.p90},
                               {"bytes", line.bytes},
                               {"flops", line.flops},
                               {"gb_per_s", line.bytes / seconds * 1e-9},
                               {"tflops_per_s", line.flops / seconds * 1e-12},
                               {"share_of_roof", std::max(share_of_bytes, share_of_flops)}};
  if (line.peer_us > 0) {
    fields.push_back({"peer", line.peer});
    fields.push_back({"peer_us", line.peer_us});
  }
  rows_.add(fields);
}

kernels::Rows KernelWorld::normal_rows(int64_t num_rows, int32_t cols) {
  kernels::Rows out = ops_->allocate_rows(num_rows, cols).value();
  const std::vector<float> ones(static_cast<size_t>(cols), 1.0f);
  void* const residual = array<uint16_t>(num_rows * cols);
  std::vector<uint16_t> values(static_cast<size_t>(num_rows * cols));
  std::mt19937 generator(static_cast<uint32_t>(num_rows * 31 + cols));
  // Sums of four bytes: near enough to normal, and quick.
  for (uint16_t& value : values) {
    const uint32_t bits = generator();
    const auto sum =
        static_cast<int32_t>((bits & 255) + (bits >> 8 & 255) + (bits >> 16 & 255) + (bits >> 24));
    value = float_to_bf16(static_cast<float>(sum - 510) / 148.0f);
  }
  ops_->upload(residual, values.data(), static_cast<int64_t>(values.size() * 2));
  ops_->add_norm({.residual = residual,
                  .delta = nullptr,
                  .weight = upload(ones),
                  .out = out,
                  .eps = 1e-5f,
                  .num_tokens = static_cast<int32_t>(num_rows)});
  return out;
}

}  // namespace mimo::bench
