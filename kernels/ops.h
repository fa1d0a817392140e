#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "base/dtype.h"
#include "base/result.h"
#include "base/stream.h"

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

// The experts that a rank holds: expert first + i has gate_up[i] ([2 * columns, H], gate rows
// first) and down[i] ([H, columns]).
struct ExpertWeights {
  int32_t first = 0;
  std::vector<Linear> gate_up;
  std::vector<Linear> down;
};

// Activation rows, with an FP8 copy where the backend's FP8 products read one.
struct Rows {
  void* values = nullptr;     // [T, cols] activation dtype
  uint8_t* q = nullptr;       // [T, cols] e4m3; null where the backend quantises on the way in
  float* q_scales = nullptr;  // [T, ceil(cols / 128)]
  int32_t cols = 0;
};

// Which rows belong to which sequence. Run s has rows [row_begin[s], row_begin[s + 1]); its last
// row stands at position context[s] - 1, the rows before it at the positions before.
struct Runs {
  int32_t num_tokens = 0;              // T
  int32_t num_runs = 0;                // S
  const int32_t* row_begin = nullptr;  // [S + 1]
  const int32_t* context = nullptr;    // [S] keys that the last row sees in a full layer
  const int32_t* row_run = nullptr;    // [T] the run of each row
};

// One layer's part of a layer group's pools and the runs' pages in it.
//   k [num_pages][kv_heads][page_tokens][k_dim], v [num_pages][kv_heads][page_tokens][v_dim]
// Key position j of run s lies in page pages[s * stride + j / page_tokens - first_page[s]].
struct PagedKv {
  void* k = nullptr;
  void* v = nullptr;
  DType k_dtype = DType::kBf16;
  DType v_dtype = DType::kBf16;
  int32_t kv_heads = 0;
  int32_t k_dim = 0;
  int32_t v_dim = 0;
  int32_t page_tokens = 0;
  const int32_t* pages = nullptr;       // [S, stride] page ids
  const int32_t* first_page = nullptr;  // [S] logical index of a row's first entry
  int32_t stride = 0;
};

// out[t] = table[ids[t] - vocab_begin] where the id is this rank's, else zeros.
struct EmbedParams {
  const int32_t* ids = nullptr;  // [T]
  Linear table;                  // [vocab rows of this rank, H]
  int32_t vocab_begin = 0;
  void* out = nullptr;  // [T, H] activation dtype
  int32_t num_tokens = 0;
};

// residual += delta (when there is one); out = residual * rsqrt(mean(residual^2) + eps) * weight,
// and its FP8 copy where out.q is there. Sums in float.
struct AddNormParams {
  void* residual = nullptr;       // [T, H] activation dtype, updated in place
  const void* delta = nullptr;    // [T, H] activation dtype, or null
  const float* weight = nullptr;  // [H]
  Rows out;                       // [T, H]
  float eps = 0;
  int32_t num_tokens = 0;
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
  int32_t hidden = 0;
  int32_t num_experts = 0;
  int32_t experts_per_token = 0;
  int32_t num_groups = 1;
  int32_t groups_per_token = 1;
  bool normalize = true;
  float scaling = 1.0f;
  int32_t* expert_ids = nullptr;    // [T, K]
  float* expert_weights = nullptr;  // [T, K]
  int32_t num_tokens = 0;
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

// How a sequence's tokens are drawn. Field meanings and bounds: proto/mimo/v1/inference.proto.
// In this order: stop_ids masked while there are fewer than min_tokens outputs, logit_bias added,
// the penalties, the greatest logit if greedy (ties: the lower id); else temperature, min_p, top_k,
// top_p, and a draw from what is left. The filters rank by logit, ties by the lower id.
struct SamplingParams {
  float temperature = 1.0f;  // below 1e-5 = greedy
  float top_p = 1.0f;        // (0, 1]: the fewest tokens that hold this part of the probability
  int32_t top_k = 0;         // 0 = all
  float min_p = 0.0f;        // [0, 1]: of the most likely token's probability
  float repetition_penalty = 1.0f;
  float presence_penalty = 0.0f;
  float frequency_penalty = 0.0f;
  uint64_t seed = 0;
  int32_t min_tokens = 0;  // stop_ids cannot be drawn before so many output tokens
  std::vector<int32_t> stop_ids;
  std::vector<std::pair<int32_t, float>> logit_bias;
  int32_t num_logprobs = -1;  // -1 none, 0 the drawn token's, n also the n best; -2 = all tokens
  bool raw_logits = false;    // logprob fields carry logits instead
};
constexpr int32_t kAllLogprobs = -2;

// What a slot's draws depend on beside the logits. Penalties count `tokens`: all of them for the
// repetition penalty, those from num_prompt on for presence and frequency.
struct SamplerInit {
  SamplingParams params;
  std::span<const int32_t> tokens;  // prompt, then outputs so far
  int32_t num_prompt = 0;
};

struct TokenLogprob {
  int32_t id = 0;
  float logprob = 0;
  bool operator==(const TokenLogprob&) const = default;
};

// One drawn token, or one prompt token looked up. logprob, rank and top stay empty where
// num_logprobs is -1.
struct TokenChoice {
  int32_t id = -1;    // -1: none could be drawn (not finite)
  float logprob = 0;  // of the model's own distribution, before penalties and temperature
  int32_t rank = 0;   // 1 = the most likely; equals rank by id
  std::vector<TokenLogprob> top;  // best first; kAllLogprobs: every id below vocab_limit, by id
  // False: the row held NaN or infinity below vocab_limit, or masks left nothing to draw.
  bool finite = true;
};

// Draws one token a row. logits [num_shards][R][shard_cols] f32 (as all_gather leaves them); column
// c of shard s is token s * shard_cols + c; tokens >= vocab_limit are masked. The draw at position
// p depends only on (seed, p), the slot's tokens and the row. A slot is drawn once a call.
struct SampleParams {
  const float* logits = nullptr;
  int32_t num_shards = 1;
  int32_t shard_cols = 0;
  int32_t vocab_limit = 0;
  int32_t num_rows = 0;                // R
  const int32_t* rows = nullptr;       // [N] which logits row each draw reads
  const int32_t* slots = nullptr;      // [N] whose sampler it is
  const int32_t* positions = nullptr;  // [N] the position that the drawn token will have
  int32_t num_draws = 0;               // N
  TokenChoice* out = nullptr;          // [N], host memory
};

// Log-probabilities of given tokens (prompt logprobs); same logits layout.
struct ScoreParams {
  const float* logits = nullptr;
  int32_t num_shards = 1;
  int32_t shard_cols = 0;
  int32_t vocab_limit = 0;
  int32_t num_rows = 0;
  const int32_t* rows = nullptr;    // [N]
  const int32_t* tokens = nullptr;  // [N]; -1: only `top` is wanted
  int32_t num_scores = 0;           // N
  int32_t num_logprobs = 0;         // as SamplingParams
  bool raw_logits = false;
  TokenChoice* out = nullptr;  // [N], host memory
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
  int32_t ffn_cols_max = 0;        // columns of the widest FFN or expert on this rank
  int32_t num_experts = 0;
  int32_t experts_per_token = 0;
  int32_t vocab_padded = 0;  // num_shards * shard_cols
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
  virtual Stream stream() const = 0;

  // Zeroed memory, counted under `purpose`; kResourceExhausted with the figures.
  virtual Result<void*> allocate(int64_t bytes, Purpose purpose) = 0;
  virtual Result<Linear> load_linear(const HostLinear& weight) = 0;
  // Workspace for all later steps.
  virtual Result<void> prepare(const StepLimits& limits) = 0;
  virtual std::array<int64_t, kNumPurposes> bytes_by_purpose() const = 0;
  virtual void upload(void* to, const void* from_host, int64_t bytes) = 0;
  // Waits for the stream.
  virtual void download(void* to_host, const void* from, int64_t bytes) = 0;

  virtual void embed(const EmbedParams& p) = 0;
  virtual void add_norm(const AddNormParams& p) = 0;
  virtual void qkv(const QkvParams& p) = 0;
  virtual void attention(const AttentionParams& p) = 0;
  virtual void linear(const LinearParams& p) = 0;
  virtual void dense_ffn(const DenseFfnParams& p) = 0;
  virtual void route(const RouteParams& p) = 0;
  virtual void experts(const ExpertsParams& p) = 0;
  virtual void gather_rows(const GatherRowsParams& p) = 0;

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
