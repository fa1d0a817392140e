#include "node/model/weights.h"

#include <functional>
#include <optional>
#include <string>
#include <thread>

#include "base/bounded_queue.h"
#include "base/clock.h"
#include "base/log.h"
#include "node/model/weight_packer.h"

namespace mimo::node {
namespace {

using checkpoint::Checkpoint;
using checkpoint::ModelConfig;
using kernels::Linear;
using kernels::LinearStack;
using parallel::Range;
using parallel::RankShard;

// One matrix to load, and where its handle goes.
struct Job {
  std::string name;
  std::function<Result<PackedLinear>()> pack;
  std::function<Result<void>(kernels::Ops& ops, const kernels::HostLinear& matrix)> load;
};

// A matrix of its own.
Job single(std::string name, std::function<Result<PackedLinear>()> pack, Linear& to) {
  return {std::move(name), std::move(pack),
          [&to](kernels::Ops& ops, const kernels::HostLinear& matrix) -> Result<void> {
            TRY_ASSIGN(to, ops.load_linear(matrix));
            return {};
          }};
}

// Matrix `i` of `count`. The first that comes makes the stack: the others must be like it.
Job stacked(std::string name, std::function<Result<PackedLinear>()> pack, int32_t i, int32_t count,
            LinearStack& to) {
  return {std::move(name), std::move(pack),
          [&to, i, count](kernels::Ops& ops, const kernels::HostLinear& matrix) -> Result<void> {
            if (to.index < 0) {
              TRY_ASSIGN(to, ops.make_stack({count, matrix.dtype, matrix.rows, matrix.cols,
                                             matrix.rows_per_scale}));
            }
            return ops.load_into(to, i, matrix);
          }};
}

struct Packed {
  size_t job = 0;
  Result<PackedLinear> matrix;
};

// Feeds the backend from a few threads that read and cut. Jobs are handed out one for each that
// comes back, so the queues never fill and the matrices in memory are bounded.
class Loader {
 public:
  Loader(kernels::Ops& ops, int32_t rank, const LoadOptions& options)
      : ops_(ops),
        rank_(rank),
        options_(options),
        in_flight_(std::max(options.num_threads, 1) + 1),
        wanted_(in_flight_),
        ready_(in_flight_) {}

  void add(Job job) { jobs_.push_back(std::move(job)); }
  Result<int64_t> run() {
    std::vector<std::thread> threads;
    for (int32_t i = 0; i < in_flight_ - 1; ++i) threads.emplace_back([this] { pack_all(); });
    const Result<int64_t> loaded = feed();
    wanted_.close();
    ready_.close();
    for (std::thread& thread : threads) thread.join();
    return loaded;
  }

 private:
  static constexpr std::chrono::seconds kPoll{1};

  void pack_all() {
    while (!wanted_.closed()) {
      const std::optional<size_t> job = wanted_.pop_for(kPoll);
      if (!job.has_value()) continue;
      // Refused only after run() has closed the queue.
      (void)ready_.try_push({*job, jobs_[*job].pack()});
    }
  }

  Result<int64_t> feed() {
    size_t num_wanted = 0;
    const auto want_next = [&] {
      if (num_wanted < jobs_.size()) CHECK(wanted_.try_push(size_t{num_wanted++}));
    };
    for (int32_t i = 0; i < in_flight_; ++i) want_next();
    int64_t bytes = 0;
    int64_t logged_ns = clock_.now_ns();
    for (size_t num_done = 0; num_done < jobs_.size();) {
      std::optional<Packed> packed = ready_.pop_for(kPoll);
      if (clock_.now_ns() - logged_ns >= options_.progress_ns) {
        logged_ns = clock_.now_ns();
        log_info("weights_loading",
                 {{"rank", rank_}, {"bytes", bytes}, {"bytes_total", options_.bytes_total}});
      }
      if (!packed.has_value()) continue;
      Job& job = jobs_[packed->job];
      if (!packed->matrix.ok()) return packed->matrix.error();
      const PackedLinear& matrix = packed->matrix.value();
      const auto loaded = job.load(ops_, matrix.view());
      if (!loaded.ok()) return loaded.error().with_context(job.name);
      bytes += matrix.num_bytes();
      ++num_done;
      want_next();
    }
    return bytes;
  }

  kernels::Ops& ops_;
  const int32_t rank_;
  const LoadOptions options_;
  const int32_t in_flight_;
  const SystemClock clock_;
  std::vector<Job> jobs_;
  BoundedQueue<size_t> wanted_;
  BoundedQueue<Packed> ready_;
};

// Walks the model's tensors: vectors are loaded on the way, matrices become jobs.
class WeightReader {
 public:
  WeightReader(const Checkpoint& checkpoint, const RankShard& shard, kernels::Ops& ops,
               Loader& loader)
      : config_(checkpoint.config()),
        shard_(shard),
        packer_(checkpoint, shard),
        ops_(ops),
        loader_(loader) {}

  Result<void> read(ModelWeights& weights) {
    weights.layers.resize(static_cast<size_t>(config_.num_layers));
    vocabulary("model.embed_tokens.weight", weights.embedding);
    for (int32_t layer = 0; layer < config_.num_layers; ++layer) {
      TRY(read_layer(layer, weights.layers[static_cast<size_t>(layer)]));
    }
    vocabulary("lm_head.weight", weights.head);
    return vector("model.norm.weight", {}, weights.final_norm);
  }
  int64_t vector_bytes() const { return vector_bytes_; }

 private:
  void vocabulary(const std::string& name, Linear& to) {
    loader_.add(single(
        name, [this, name] { return packer_.vocab_rows(name); }, to));
  }

  Result<void> vector(const std::string& name, Range range, const float*& to) {
    TRY_ASSIGN(const std::vector<float> values, packer_.floats(name, range));
    const auto bytes = static_cast<int64_t>(values.size() * sizeof(float));
    auto memory = ops_.allocate(bytes, kernels::Purpose::kWeights);
    if (!memory.ok()) return memory.error().with_context(name);
    ops_.upload(memory.value(), values.data(), bytes);
    to = static_cast<const float*>(memory.value());
    vector_bytes_ += bytes;
    return {};
  }

  Result<void> read_layer(int32_t layer, LayerWeights& w) {
    const std::string prefix = layer_prefix(layer);
    const checkpoint::AttentionKind kind = config_.attention[layer];
    TRY(vector(prefix + "input_layernorm.weight", {}, w.input_norm));
    loader_.add(single(
        prefix + "self_attn.qkv", [this, layer] { return packer_.qkv(layer); }, w.qkv));
    if (config_.attention_shape(kind).has_sinks) {
      TRY(vector(prefix + "self_attn.attention_sink_bias", shard_.attention(kind).q_heads,
                 w.sinks));
    }
    loader_.add(single(
        prefix + "self_attn.o_proj.weight", [this, layer] { return packer_.o_proj(layer); },
        w.o_proj));
    TRY(vector(prefix + "post_attention_layernorm.weight", {}, w.ffn_norm));
    if (config_.is_moe[layer]) return read_moe(prefix + "mlp.", w);
    const std::string mlp = prefix + "mlp.";
    loader_.add(single(mlp + "gate_up", gate_up(mlp, shard_.dense_cols), w.gate_up));
    loader_.add(single(mlp + "down_proj.weight", down(mlp, shard_.dense_cols), w.down));
    return {};
  }

  Result<void> read_moe(const std::string& prefix, LayerWeights& w) {
    TRY(vector(prefix + "gate.weight", {}, w.router));
    TRY(vector(prefix + "gate.e_score_correction_bias", {}, w.router_bias));
    w.experts.first = shard_.experts.begin;
    const int32_t count = shard_.experts.size();
    for (int32_t i = 0; i < count; ++i) {
      const std::string expert =
          prefix + "experts." + std::to_string(shard_.experts.begin + i) + ".";
      loader_.add(stacked(expert + "gate_up", gate_up(expert, shard_.expert_cols), i, count,
                          w.experts.gate_up));
      loader_.add(stacked(expert + "down_proj.weight", down(expert, shard_.expert_cols), i, count,
                          w.experts.down));
    }
    return {};
  }

  std::function<Result<PackedLinear>()> gate_up(const std::string& prefix, Range cols) const {
    return [this, prefix, cols] { return packer_.gate_up(prefix, cols); };
  }
  std::function<Result<PackedLinear>()> down(const std::string& prefix, Range cols) const {
    return [this, prefix, cols] { return packer_.down(prefix, cols); };
  }

  const ModelConfig& config_;
  const RankShard& shard_;
  const WeightPacker packer_;
  kernels::Ops& ops_;
  Loader& loader_;
  int64_t vector_bytes_ = 0;
};

}  // namespace

Result<ModelWeights> load_weights(const Checkpoint& checkpoint, const RankShard& shard,
                                  kernels::Ops& ops, const LoadOptions& options) {
  const SystemClock clock;
  const int64_t begin_ns = clock.now_ns();
  Loader loader(ops, shard.rank, options);
  WeightReader reader(checkpoint, shard, ops, loader);
  ModelWeights weights;
  TRY(reader.read(weights));
  TRY_ASSIGN(const int64_t matrix_bytes, loader.run());
  weights.loaded_bytes = reader.vector_bytes() + matrix_bytes;
  log_info("weights_loaded", {{"rank", shard.rank},
                              {"bytes", weights.loaded_bytes},
                              {"seconds", static_cast<double>(clock.now_ns() - begin_ns) * 1e-9}});
  return weights;
}

}  // namespace mimo::node
