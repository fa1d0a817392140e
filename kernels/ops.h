#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/dtype.h"
#include "base/result.h"
#include "base/stream.h"
#include "kernels/sampling.h"

namespace mimo::kernels {

// Dimension letters: T tokens of the step, S runs (sequences) of the step, R rows that need logits,
// H hidden, E experts, K experts a token, V vocabulary columns.
//
// Activation rows are [T, columns], contiguous, of the backend's activation_dtype().

// What the device's memory is taken for; mimo_device_bytes{purpose}.
enum class Purpose : uint8_t { kWeights = 0, kK, kV, kWorkspace, kGraphs, kTransfer };
constexpr int32_t kNumPurposes = 6;
const char* purpose_name(
    Purpose purpose);  // "weights", "k", "v", "workspace", "graphs", "transfer"

// A weight as the loader hands it over, in host memory, cut for this rank.
struct HostLinear {
  DType dtype = DType::kBf16;      // kF32, kBf16 or kF8E4m3
  int64_t rows = 0;                // outputs
  int64_t cols = 0;                // inputs
  std::span<const uint8_t> bytes;  // [rows, cols] dtype
  std::span<const float> scales;   // kF8E4m3: [ceil(rows / rows_per_scale), ceil(cols / 128)]
  int32_t rows_per_scale = 128;
};

// A weight in the backend's own form; lives as long as its Ops.
struct Linear {
  int32_t index = -1;  // into the backend's table
  int32_t rows = 0;
  int32_t cols = 0;
};

// `count` weights of one shape, one behind the other in the backend's memory.
struct LinearStack {
  int32_t index = -1;  // into the backend's table
  int32_t count = 0;
  int32_t rows = 0;
  int32_t cols = 0;
};

// What each weight of a stack will be.
struct StackShape {
  int32_t count = 0;
  DType dtype = DType::kBf16;
  int64_t rows = 0;
  int64_t cols = 0;
  int32_t rows_per_scale = 128;
};

// The experts that a rank holds: expert first + i has gate_up[i] ([2 * columns, H], gate rows
// first) and down[i] ([H, columns]).
struct ExpertWeights {
  int32_t first = 0;
  LinearStack gate_up;
  LinearStack down;
};

// Activation rows, with an FP8 copy where the backend's FP8 products read one.
struct Rows {
  void* values = nullptr;     // [T, cols] activation dtype
  uint8_t* q = nullptr;       // [T, cols] e4m3; null where the backend quantises on the way in
  float* q_scales = nullptr;  // [T, ceil(cols / 128)]
  int32_t cols = 0;
};

// Which rows belong to which sequence. Run s has rows [row_begin[s], row_begin[s + 1]); its last
// row stands at position context[s] - 1, the rows before it at the positions before. A run whose
// context is 0 is padding: its rows write no cache, get no experts and zero attention.
struct Runs {
  int32_t num_tokens = 0;              // T
  int32_t num_runs = 0;                // S
  const int32_t* row_begin = nullptr;  // [S + 1]
  const int32_t* context = nullptr;    // [S] keys that the last row sees in a full layer
  const int32_t* row_run = nullptr;    // [T] the run of each row
  const int32_t* slot = nullptr;       // [S] the run's row of the page tables; null: its own number
  int32_t rows_per_run_max = 0;        // of the longest run; at least 1
};

// One layer's part of a layer group's pools and the page tables.
//   k [num_pages][kv_heads][page_tokens][k_dim], v [num_pages][kv_heads][page_tokens][v_dim]
// Key position j of table row r lies in page pages[r * stride + (j / page_tokens) % stride].
// Entries of pages that no row sees may hold anything.
struct PagedKv {
  void* k = nullptr;
  void* v = nullptr;
  DType k_dtype = DType::kBf16;
  DType v_dtype = DType::kBf16;
  int32_t kv_heads = 0;
  int32_t k_dim = 0;
  int32_t v_dim = 0;
  int32_t page_tokens = 0;
  const int32_t* pages = nullptr;  // [table rows, stride] page ids
  int32_t stride = 0;
};

// out[t] = table[id - vocab_begin] where the id is this rank's, else zeros. The id is ids[t], or
// where that is negative last_tokens[~ids[t]]: what was drawn last for a slot, which only the
// backend may know yet.
struct EmbedParams {
  const int32_t* ids = nullptr;          // [T]
  const int32_t* last_tokens = nullptr;  // [slots]; may be null where no id is negative
  Linear table;                          // [vocab rows of this rank, H]
  int32_t vocab_begin = 0;
  void* out = nullptr;  // [T, H] activation dtype
  int32_t num_tokens = 0;
};

// residual += delta (when there is one); out = residual * rsqrt(mean(residual^2) + eps) * weight,
// and its FP8 copy where out.q is there. Sums in float. The sum of residual and delta may go
// elsewhere instead: then the operation that reads `out`, if it comes next, may do this one too.
struct AddNormParams {
  void* residual = nullptr;       // [T, H] activation dtype
  const void* delta = nullptr;    // [T, H] activation dtype, or null
  const float* weight = nullptr;  // [H]
  Rows out;                       // [T, H]
  float eps = 0;
  int32_t num_tokens = 0;
  // [T, H] activation dtype, apart from all the others: where residual + delta goes, and `residual`
  // stays as it is. Null, or without delta: `residual` itself.
  void* residual_out = nullptr;
};

// [q | k | v] = x w^T; the first rotary_dim columns of each q and k head rotated (rotate-half,
// angle position * theta^(-2i / rotary_dim)); v times value_scale; k and v written to the cache at
// each row's position; q left in `q`. In float32: the power, rounded; its reciprocal, rounded; the
// angle, rounded; the rotation of the product's float sums. One rounding where q, k, v are stored.
struct QkvParams {
  Rows x;      // [T, H]
  Linear qkv;  // [num_q_heads * k_dim + kv_heads * (k_dim + v_dim), H]
  int32_t num_q_heads = 0;
  int32_t rotary_dim = 0;
  double rope_theta = 0;
  float value_scale = 1.0f;
  Runs runs;
  PagedKv kv;
  void* q = nullptr;  // [T, num_q_heads, k_dim] activation dtype
};

// Causal softmax attention over the paged cache, grouped query heads (head h reads kv head
// h / (num_q_heads / kv_heads)). window > 0: keys j with position - window < j <= position. sinks:
// one raw logit a q head in the softmax's maximum and denominator, with no value.
struct AttentionParams {
  const void* q = nullptr;  // [T, num_q_heads, k_dim] activation dtype
  int32_t num_q_heads = 0;
  Runs runs;
  PagedKv kv;
  int32_t window = 0;
  const float* sinks = nullptr;  // [num_q_heads] or null
  float scale = 0;               // k_dim^-0.5
  void* out = nullptr;           // [T, num_q_heads, v_dim] activation dtype
};

// out = x w^T.
struct LinearParams {
  const void* x = nullptr;  // [T, w.cols] activation dtype
  Linear w;
  void* out = nullptr;  // [T, w.rows]: f32 when out_f32, else activation dtype
  bool out_f32 = false;
  int32_t num_tokens = 0;
};

// out = down(silu(gate x) * (up x)): this rank's columns, so a partial sum unless it holds them
// all.
struct DenseFfnParams {
  Rows x;               // [T, H]
  Linear gate_up;       // [2 * columns, H], gate rows first
  Linear down;          // [H, columns]
  void* out = nullptr;  // [T, H] activation dtype
  int32_t num_tokens = 0;
};

// The K experts of each token and their weights, in fp32 throughout: s = sigmoid(x w^T); chosen by
// s + bias (ties: the lower expert), among the groups_per_token groups whose two best s + bias sum
// highest (ties: the lower group; an expert of another group is never chosen, its score counts as
// -inf); weight = s, divided by the chosen ones' sum (+ 1e-20) when normalize, times scaling. Best
// first. num_groups > 1: groups of two experts or more, and K experts in the chosen groups.
struct RouteParams {
  const void* x = nullptr;        // [T, H] activation dtype
  const float* weight = nullptr;  // [E, H]
  const float* bias = nullptr;    // [E]
  Runs runs = {};                 // tells padding; without `context` no row is
  int32_t hidden = 0;
  int32_t num_experts = 0;
  int32_t experts_per_token = 0;
  int32_t num_groups = 1;
  int32_t groups_per_token = 1;
  bool normalize = true;
  float scaling = 1.0f;
  int32_t* expert_ids = nullptr;    // [T, K]; -1 in padding rows
  float* expert_weights = nullptr;  // [T, K]; 0 in padding rows
  int32_t num_tokens = 0;
  // Those among which it chooses, as far as they are held here, if experts() comes next: a backend
  // may begin to fetch them. May be null.
  const ExpertWeights* experts = nullptr;
};

// out[t] = sum over the token's experts held here of weight * down(silu(gate x) * (up x)).
struct ExpertsParams {
  Rows x;  // [T, H]
  const ExpertWeights* experts = nullptr;
  const int32_t* expert_ids = nullptr;    // [T, K]
  const float* expert_weights = nullptr;  // [T, K]
  int32_t experts_per_token = 0;
  void* out = nullptr;  // [T, H] activation dtype
  int32_t num_tokens = 0;
};

// out[r] = in[rows[r]].
struct GatherRowsParams {
  const void* in = nullptr;       // [*, cols] activation dtype
  const int32_t* rows = nullptr;  // [R]
  void* out = nullptr;            // [R, cols] activation dtype
  int32_t num_rows = 0;
  int32_t cols = 0;
};

// table[at[i]] = values[i]. The places differ.
struct ScatterParams {
  int32_t* table = nullptr;
  const int32_t* at = nullptr;      // [count]
  const int32_t* values = nullptr;  // [count]
  int32_t count = 0;
};

// The largest step that will come; sizes the backend's workspace once.
struct StepLimits {
  int32_t tokens_max = 0;       // T
  int32_t runs_max = 0;         // S
  int32_t logits_rows_max = 0;  // R
  int32_t slots_max = 0;
  int32_t hidden = 0;
  int32_t qkv_cols_max = 0;
  int32_t attention_cols_max = 0;  // q heads * v_dim
  int32_t q_heads_max = 0;
  int32_t v_dim_max = 0;
  int32_t dense_cols_max = 0;   // columns of a dense FFN on this rank; 0: there is none
  int32_t expert_cols_max = 0;  // columns of an expert on this rank; 0: there is none
  int32_t num_experts = 0;
  int32_t experts_per_token = 0;
  int32_t num_local_experts = 0;  // that this rank holds
  int32_t vocab_padded = 0;       // num_shards * shard_cols
};

// Everything queued up to a moment; see Ops::mark().
struct Mark {
  int64_t count = 0;
};

// The model's operations. Two backends: the CPU's (plain, threaded, a BLAS), and CUDA's. Pointers
// in params are the backend's own memory unless said otherwise. A call queues its work on the
// backend's stream and CHECKs every assumption; memory comes from allocate() at start, a step
// allocates nothing on a device.
//
// Thread:    one thread at a time.
// Lifetime:  owns everything that allocate() and load_linear() gave.
class Ops {
 public:
  virtual ~Ops() = default;

  virtual DType activation_dtype() const = 0;
  virtual DType cache_dtype() const = 0;  // of K and V unless the user says otherwise
  // What was called before stands on it; what others put on it comes before what is called later.
  virtual Stream stream() const = 0;

  // Zeroed memory, counted under `purpose`; kResourceExhausted with the figures.
  virtual Result<void*> allocate(int64_t bytes, Purpose purpose) = 0;
  virtual Result<Linear> load_linear(const HostLinear& weight) = 0;
  virtual Result<LinearStack> make_stack(const StackShape& shape) = 0;
  // Weight `i` of the stack; kInvalidArgument when it is not of the stack's shape and dtype.
  virtual Result<void> load_into(const LinearStack& stack, int32_t i, const HostLinear& weight) = 0;
  // Rows for activations that products read: values, and an FP8 copy where the backend wants one.
  virtual Result<Rows> allocate_rows(int64_t num_rows, int32_t cols) = 0;
  // Workspace for all later steps.
  virtual Result<void> prepare(const StepLimits& limits) = 0;
  virtual std::array<int64_t, kNumPurposes> bytes_by_purpose() const = 0;

  // Copies in the stream's order. upload(): `from_host` is free again when it returns. download()
  // waits for the stream.
  virtual void upload(void* to, const void* from_host, int64_t bytes) = 0;
  virtual void download(void* to_host, const void* from, int64_t bytes) = 0;
  // Zeroed host memory for the two calls below, which only queue: the host's side is borrowed until
  // a later mark() is done. Counted nowhere.
  virtual Result<void*> allocate_host(int64_t bytes) = 0;
  virtual void upload_later(void* to, const void* from_host, int64_t bytes) = 0;
  virtual void download_later(void* to_host, const void* from, int64_t bytes) = 0;

  // Stands for everything queued so far. At most 64 are out at once; wait() answers when all of it
  // is done, and is the only call that waits for a step.
  virtual Mark mark() = 0;
  virtual bool done(Mark mark) = 0;
  virtual void wait(Mark mark) = 0;

  // How many decode rows a step of `num_rows` is padded to, so that few shapes are ever seen.
  virtual int32_t padded_rows(int32_t num_rows) const = 0;
  // Of a prompt's chunks, so that no row's bits depend on how it was cut; 1 where they never do, or
  // where they may depend on other rows anyway.
  virtual int32_t chunk_rows_min() const { return 1; }
  // How many steps may be queued at once; 1 where a call does its work before it returns.
  virtual int32_t steps_in_flight_max() const = 0;
  // Queues what `body` queues. A backend may record it at the first call under a key and replay the
  // record at later ones, without calling `body`: every call under a key passes the same pointers
  // and sizes, and only what lies in memory differs. An error of `body` comes back and records
  // nothing.
  virtual Result<void> recorded(uint64_t key, const std::function<Result<void>()>& body) = 0;
  virtual void forget_recordings() = 0;

  virtual void embed(const EmbedParams& p) = 0;
  virtual void add_norm(const AddNormParams& p) = 0;
  virtual void qkv(const QkvParams& p) = 0;
  virtual void attention(const AttentionParams& p) = 0;
  virtual void linear(const LinearParams& p) = 0;
  virtual void dense_ffn(const DenseFfnParams& p) = 0;
  virtual void route(const RouteParams& p) = 0;
  virtual void experts(const ExpertsParams& p) = 0;
  virtual void gather_rows(const GatherRowsParams& p) = 0;
  virtual void scatter(const ScatterParams& p) = 0;

  // The slot's sampler from here on; replaces what was there.
  virtual void set_sampler(int32_t slot, const SamplerInit& init) = 0;
  virtual void clear_sampler(int32_t slot) = 0;
  virtual void sample(const SampleParams& p) = 0;  // also counts the drawn tokens
  virtual void score(const ScoreParams& p) = 0;
};

// Which rounding the CPU backend keeps.
enum class CpuMode : uint8_t {
  kF32 = 0,     // fp32 everywhere, FP8 weights dequantised: what the golden files hold
  kDevice = 1,  // the GPU's rounding points: bf16 activations, residual and cache; inputs of FP8
                // products quantised per token and 128 columns. Activations are still kept as
                // floats (activation_dtype() is kF32) that bf16 can hold.
};

struct CpuOptions {
  CpuMode mode = CpuMode::kF32;
  int32_t num_threads = 0;       // 0 = as many as there are cores
  int64_t memory_bytes_max = 0;  // 0 = no bound of its own
};

Result<std::unique_ptr<Ops>> make_cpu_ops(const CpuOptions& options);

}  // namespace mimo::kernels
