#include "kernels/cuda/cuda_ops.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "kernels/cuda/attention/attention_args.h"
#include "kernels/cuda/attention/attention_ops.h"
#include "kernels/cuda/cuda_check.h"
#include "kernels/cuda/mark_ring.h"
#include "kernels/cuda/product/product_ops.h"
#include "kernels/cuda/random_fill.h"
#include "kernels/cuda/recordings.h"
#include "kernels/cuda/route/route_ops.h"
#include "kernels/cuda/rows/held_norm.h"
#include "kernels/cuda/rows/row_ops.h"
#include "kernels/cuda/sampling/sampling_ops.h"
#include "kernels/cuda/staging.h"
#include "kernels/cuda/weight_store.h"

namespace mimo::kernels::cuda {
namespace {

constexpr std::array kPaddedRows = {1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256};
constexpr int32_t kPaddedRowsStep = 64;  // above the table
constexpr int32_t kStepsInFlight = 2;    // one runs, the next is queued behind it
constexpr int64_t kPartAlign = 256;

int64_t aligned(int64_t bytes) { return (bytes + kPartAlign - 1) / kPartAlign * kPartAlign; }

class CudaOpsImpl final : public CudaOps {
 public:
  CudaOpsImpl(std::unique_ptr<DeviceContext> context, std::unique_ptr<Staging> staging,
              std::unique_ptr<MarkRing> marks)
      : context_(std::move(context)),
        staging_(std::move(staging)),
        marks_(std::move(marks)),
        weights_(*context_, *staging_),
        recordings_(*context_),
        rows_(*context_),
        norm_(rows_),
        attention_(*context_, {.batch_invariant = context_->options().batch_invariant}),
        products_(*context_),
        route_(*context_),
        sampling_(*context_) {
    products_.share_plans(&expert_plans_);
    route_.share_plans(&expert_plans_);
  }
  // What the members free may still be read by queued work.
  ~CudaOpsImpl() override {
    (void)cudaSetDevice(context_->options().device);
    (void)cudaStreamSynchronize(context_->stream());
  }

  DType activation_dtype() const override { return DType::kBf16; }
  DType cache_dtype() const override { return DType::kBf16; }
  Stream stream() const override {
    context_->make_current();
    norm_.flush();
    return {context_->stream()};
  }

  Result<void*> allocate(int64_t bytes, Purpose purpose) override {
    TRY_ASSIGN(void* const memory, idle().allocate(bytes, purpose));
    if (context_->options().random_pools && (purpose == Purpose::kK || purpose == Purpose::kV)) {
      fill_normal_bf16(memory, bytes / 16 * 8, 1.0f, static_cast<uint64_t>(purpose) + 1);
    }
    return memory;
  }
  Result<Linear> load_linear(const HostLinear& weight) override {
    (void)idle();
    return weights_.load_linear(weight);
  }
  Result<LinearStack> make_stack(const StackShape& shape) override {
    (void)idle();
    return weights_.make_stack(shape);
  }
  Result<void> load_into(const LinearStack& stack, int32_t i, const HostLinear& weight) override {
    (void)idle();
    return weights_.load_into(stack, i, weight);
  }
  Result<Rows> allocate_rows(int64_t num_rows, int32_t cols) override;
  Result<void> prepare(const StepLimits& limits) override;
  std::array<int64_t, kNumPurposes> bytes_by_purpose() const override {
    return context_->bytes_by_purpose();
  }

  void upload(void* to, const void* from_host, int64_t bytes) override {
    (void)idle();
    expert_plans_.set_made(false);  // `to` may be the ids
    staging_->copy(to, from_host, bytes);
  }
  void download(void* to_host, const void* from, int64_t bytes) override;
  Result<void*> allocate_host(int64_t bytes) override { return idle().allocate_host(bytes); }
  void upload_later(void* to, const void* from_host, int64_t bytes) override {
    expert_plans_.set_made(false);
    copy_later(to, from_host, bytes, cudaMemcpyHostToDevice);
  }
  void download_later(void* to_host, const void* from, int64_t bytes) override {
    copy_later(to_host, from, bytes, cudaMemcpyDeviceToHost);
  }

  Mark mark() override {
    (void)idle();
    return marks_->mark();
  }
  bool done(Mark mark) override {
    (void)idle();
    return marks_->done(mark);
  }
  void wait(Mark mark) override {
    (void)idle();
    marks_->wait(mark);
  }

  int32_t padded_rows(int32_t num_rows) const override;
  int32_t steps_in_flight_max() const override { return kStepsInFlight; }
  int32_t chunk_rows_min() const override {
    return context_->options().batch_invariant ? kDecodeRowsMax + 1 : 1;
  }
  Result<void> recorded(uint64_t key, const std::function<Result<void>()>& body) override {
    (void)idle();
    expert_plans_.set_made(false);
    return recordings_.run(key, [&] {
      Result<void> queued = body();
      norm_.flush();  // a record holds all that its body called
      return queued;
    });
  }
  void forget_recordings() override {
    (void)idle();
    recordings_.forget();
  }

  void embed(const EmbedParams& p) override { run(rows_, &RowOps::embed, p); }
  void add_norm(const AddNormParams& p) override {
    context_->make_current();
    norm_.add_norm(p);
  }
  void qkv(const QkvParams& p) override { run_with_norm(products_, &ProductOps::qkv, p); }
  void attention(const AttentionParams& p) override {
    run(attention_, &AttentionOps::attention, p);
  }
  void linear(const LinearParams& p) override { run(products_, &ProductOps::linear, p); }
  void dense_ffn(const DenseFfnParams& p) override { run(products_, &ProductOps::dense_ffn, p); }
  void route(const RouteParams& p) override { run_with_norm(route_, &RouteOps::route, p); }
  void experts(const ExpertsParams& p) override { run(products_, &ProductOps::experts, p); }
  void gather_rows(const GatherRowsParams& p) override { run(rows_, &RowOps::gather_rows, p); }
  void scatter(const ScatterParams& p) override { run(rows_, &RowOps::scatter, p); }

  void set_sampler(int32_t slot, const SamplerInit& init) override {
    (void)idle();
    sampling_.set_sampler(slot, init);
  }
  void clear_sampler(int32_t slot) override {
    (void)idle();
    sampling_.clear_sampler(slot);
  }
  void sample(const SampleParams& p) override { run(sampling_, &SamplingOps::sample, p); }
  void score(const ScoreParams& p) override { run(sampling_, &SamplingOps::score, p); }

  CudaInfo info() const override;
  Result<Linear> random_linear(DType dtype, int64_t rows, int64_t cols, int32_t rows_per_scale,
                               uint64_t seed) override {
    (void)idle();
    return weights_.random_linear({1, dtype, rows, cols, rows_per_scale}, seed);
  }
  Result<LinearStack> random_stack(const StackShape& shape, uint64_t seed) override {
    (void)idle();
    return weights_.random_stack(shape, seed);
  }
  Result<float*> random_floats(int64_t count, float deviation, uint64_t seed) override;
  void fill_normal_bf16(void* values, int64_t count, float deviation, uint64_t seed) override {
    cuda::fill_normal_bf16(values, count, deviation, seed, idle().stream());
  }

 private:
  // The context, for what cannot be part of a recorded body.
  DeviceContext& idle() {
    CHECK(!recordings_.recording());
    context_->make_current();
    norm_.flush();
    return *context_;
  }
  template <typename Family, typename Params>
  void run(Family& family, void (Family::*operation)(const Params&), const Params& p) {
    context_->make_current();
    norm_.flush();
    (family.*operation)(p);
  }
  // Of an operation that may do the add_norm() before it.
  template <typename Family, typename Params>
  void run_with_norm(Family& family, void (Family::*operation)(const Params&, const AddNormParams*),
                     const Params& p) {
    context_->make_current();
    const std::optional<AddNormParams> norm = norm_.take_for(family, p);
    (family.*operation)(p, norm.has_value() ? &*norm : nullptr);
  }
  void copy_later(void* to, const void* from, int64_t bytes, cudaMemcpyKind kind) {
    context_->make_current();
    norm_.flush();
    if (bytes == 0) return;
    CUDA_CHECK(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), kind, context_->stream()));
  }
  Result<void> check_books() const;

  // Later members use earlier ones, and are destroyed before them.
  const std::unique_ptr<DeviceContext> context_;
  const std::unique_ptr<Staging> staging_;
  const std::unique_ptr<MarkRing> marks_;
  WeightStore weights_;
  Recordings recordings_;
  ExpertPlans expert_plans_;
  RowOps rows_;
  mutable HeldNorm norm_;  // stream() queues what it holds
  AttentionOps attention_;
  ProductOps products_;
  RouteOps route_;
  SamplingOps sampling_;
};

Result<Rows> CudaOpsImpl::allocate_rows(int64_t num_rows, int32_t cols) {
  if (cols <= 0 || cols % 8 != 0 || num_rows < 0) {
    return invalid_argument("activation rows: [" + std::to_string(num_rows) + ", " +
                            std::to_string(cols) + "], expected a multiple of 8 columns on a GPU");
  }
  const int64_t values = aligned(num_rows * cols * 2);
  const int64_t q = aligned(num_rows * cols);
  const int64_t scales = num_rows * ((cols + 127) / 128) * int64_t{sizeof(float)};
  TRY_ASSIGN(void* const memory, allocate(values + q + scales, Purpose::kWorkspace));
  auto* const bytes = static_cast<uint8_t*>(memory);
  return Rows{bytes, bytes + values, reinterpret_cast<float*>(bytes + values + q), cols};
}

Result<void> CudaOpsImpl::prepare(const StepLimits& limits) {
  (void)idle();
  if (context_->options().batch_invariant && limits.slots_max > kPaddedRows.back()) {
    return invalid_argument("slots_max: " + std::to_string(limits.slots_max) +
                            ", expected at most " + std::to_string(kPaddedRows.back()) +
                            " in the batch-invariant mode");
  }
  TRY(attention_.prepare(limits));
  TRY(products_.prepare(limits));
  TRY(route_.prepare(limits));
  TRY(sampling_.prepare(limits));
  CUDA_CHECK(cudaStreamSynchronize(context_->stream()));
  return check_books();
}

// What is counted is in use; what is in use beside it is the CUDA context's, other libraries', or
// another process's.
Result<void> CudaOpsImpl::check_books() const {
  const CudaInfo now = info();
  int64_t counted = 0;
  for (const int64_t part : context_->bytes_by_purpose()) counted += part;
  if (counted > now.used_bytes) {
    return internal_error(std::to_string(counted) + " bytes are counted on device " +
                          std::to_string(now.device) + " where " + std::to_string(now.used_bytes) +
                          " are in use");
  }
  log_info("device_memory", {{"device", now.device},
                             {"name", now.name},
                             {"total_bytes", now.total_bytes},
                             {"used_bytes", now.used_bytes},
                             {"counted_bytes", counted},
                             {"other_bytes", now.used_bytes - counted}});
  return {};
}

void CudaOpsImpl::download(void* to_host, const void* from, int64_t bytes) {
  (void)idle();
  copy_later(to_host, from, bytes, cudaMemcpyDeviceToHost);
  CUDA_CHECK(cudaStreamSynchronize(context_->stream()));
}

int32_t CudaOpsImpl::padded_rows(int32_t num_rows) const {
  CHECK_GE(num_rows, 0);
  const auto* const found =
      std::lower_bound(std::begin(kPaddedRows), std::end(kPaddedRows), std::max(num_rows, 1));
  if (found != std::end(kPaddedRows)) return *found;
  return (num_rows + kPaddedRowsStep - 1) / kPaddedRowsStep * kPaddedRowsStep;
}

CudaInfo CudaOpsImpl::info() const {
  context_->make_current();
  CudaInfo out;
  out.device = context_->options().device;
  out.capability = context_->capability();
  out.num_sms = context_->num_sms();
  size_t free_bytes = 0;
  size_t total_bytes = 0;
  CUDA_CHECK(cudaMemGetInfo(&free_bytes, &total_bytes));
  out.total_bytes = static_cast<int64_t>(total_bytes);
  out.used_bytes = static_cast<int64_t>(total_bytes - free_bytes);
  cudaDeviceProp properties;
  CUDA_CHECK(cudaGetDeviceProperties(&properties, out.device));
  std::string(properties.name).copy(out.name, sizeof out.name - 1);
  return out;
}

Result<float*> CudaOpsImpl::random_floats(int64_t count, float deviation, uint64_t seed) {
  TRY_ASSIGN(float* const out, idle().allocate_array<float>(count, Purpose::kWeights));
  fill_normal(out, count, deviation, seed, context_->stream());
  return out;
}

}  // namespace

Result<std::unique_ptr<CudaOps>> make_cuda_ops(const CudaOptions& options) {
  if (options.memory_bytes_max < 0) {
    return invalid_argument("memory_bytes_max: " + std::to_string(options.memory_bytes_max) +
                            ", expected 0 or more");
  }
  TRY_ASSIGN(std::unique_ptr<DeviceContext> context, DeviceContext::create(options));
  TRY_ASSIGN(std::unique_ptr<Staging> staging, Staging::create(*context));
  TRY_ASSIGN(std::unique_ptr<MarkRing> marks, MarkRing::create(context->stream()));
  return std::unique_ptr<CudaOps>(
      std::make_unique<CudaOpsImpl>(std::move(context), std::move(staging), std::move(marks)));
}

int32_t num_devices() {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
  (void)cudaGetLastError();
  return 0;
}

}  // namespace mimo::kernels::cuda
