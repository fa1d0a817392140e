#include "node/model/weight_packer.h"

#include <algorithm>
#include <cstring>

namespace mimo::node {
namespace {

using checkpoint::TensorView;
using parallel::Range;

constexpr int32_t kBlock = 128;  // columns of one scale, as kernels::HostLinear has them

std::string scale_name(const std::string& weight) { return weight + "_scale_inv"; }

Range heads_to_rows(Range heads, int32_t width) { return {heads.begin * width, heads.end * width}; }

}  // namespace

std::string layer_prefix(int32_t layer) { return "model.layers." + std::to_string(layer) + "."; }

Result<PackedLinear> WeightPacker::pack(const std::vector<Piece>& pieces, int64_t zero_rows) const {
  PackedLinear packed;
  packed.dtype = checkpoint_.tensor(pieces[0].name).dtype;
  packed.cols = pieces[0].cols.size();
  packed.rows = zero_rows;
  for (const Piece& piece : pieces) {
    const DType dtype = checkpoint_.tensor(piece.name).dtype;
    if (dtype != packed.dtype) {
      return invalid_argument(piece.name + ": dtype " + dtype_name(dtype) + ", expected " +
                              dtype_name(packed.dtype) + " as of " + pieces[0].name);
    }
    packed.rows += piece.rows.size();
  }
  const int64_t element = dtype_bytes(packed.dtype);
  const int64_t row_bytes = packed.cols * element;
  packed.bytes.reserve(static_cast<size_t>(packed.rows * row_bytes));
  for (const Piece& piece : pieces) {
    const TensorView& tensor = checkpoint_.tensor(piece.name);
    CHECK_EQ(tensor.shape.size(), 2u);
    CHECK_LE(piece.rows.end, tensor.shape[0]);
    CHECK_LE(piece.cols.end, tensor.shape[1]);
    for (int64_t row = piece.rows.begin; row < piece.rows.end; ++row) {
      const uint8_t* const from =
          tensor.bytes.data() + (row * tensor.shape[1] + piece.cols.begin) * element;
      packed.bytes.insert(packed.bytes.end(), from, from + row_bytes);
    }
  }
  packed.bytes.resize(static_cast<size_t>(packed.rows * row_bytes), 0);
  return packed;
}

Result<void> WeightPacker::add_qkv_scales(int32_t layer, PackedLinear& packed) const {
  const std::string prefix = layer_prefix(layer) + "self_attn.";
  const checkpoint::AttentionKind kind = config_.attention[layer];
  const checkpoint::AttentionShape& shape = config_.attention_shape(kind);
  const std::string k_name = scale_name(prefix + "k_proj.weight");
  const std::string v_name = scale_name(prefix + "v_proj.weight");
  TRY_ASSIGN(const std::vector<float> q, floats(scale_name(prefix + "q_proj.weight")));
  TRY_ASSIGN(const std::vector<float> k, floats(k_name));
  TRY_ASSIGN(const std::vector<float> v, floats(v_name));
  const auto rule = checkpoint::kv_scale_rule(shape, checkpoint_.tensor(k_name).shape[0],
                                              checkpoint_.tensor(v_name).shape[0]);
  if (!rule.ok()) return rule.error().with_context(k_name + " and " + v_name);
  parallel::ExpandedScales expanded = parallel::expand_qkv_scales(
      shape, rule.value(), {q, k, v, (config_.hidden + kBlock - 1) / kBlock},
      shard_.attention(kind));
  packed.scales = std::move(expanded.values);
  packed.rows_per_scale = expanded.rows_per_scale;
  return {};
}

Result<PackedLinear> WeightPacker::qkv(int32_t layer) const {
  const std::string prefix = layer_prefix(layer) + "self_attn.";
  const checkpoint::AttentionKind kind = config_.attention[layer];
  const checkpoint::AttentionShape& shape = config_.attention_shape(kind);
  const parallel::AttentionShard& heads = shard_.attention(kind);
  TRY_ASSIGN(
      PackedLinear packed,
      pack({{prefix + "q_proj.weight", heads_to_rows(heads.q_heads, shape.k_dim), hidden()},
            {prefix + "k_proj.weight", heads_to_rows(heads.kv_heads, shape.k_dim), hidden()},
            {prefix + "v_proj.weight", heads_to_rows(heads.kv_heads, shape.v_dim), hidden()}}));
  if (packed.dtype == DType::kF8E4m3) TRY(add_qkv_scales(layer, packed));
  return packed;
}

Result<PackedLinear> WeightPacker::o_proj(int32_t layer) const {
  const checkpoint::AttentionKind kind = config_.attention[layer];
  const Range cols =
      heads_to_rows(shard_.attention(kind).q_heads, config_.attention_shape(kind).v_dim);
  const std::string name = layer_prefix(layer) + "self_attn.o_proj.weight";
  TRY_ASSIGN(PackedLinear packed, pack({{name, hidden(), cols}}));
  if (packed.dtype == DType::kF8E4m3) TRY(add_down_scales(name, cols, packed));
  return packed;
}

Result<PackedLinear> WeightPacker::gate_up(const std::string& prefix, Range cols) const {
  const std::string gate = prefix + "gate_proj.weight";
  const std::string up = prefix + "up_proj.weight";
  TRY_ASSIGN(PackedLinear packed, pack({{gate, cols, hidden()}, {up, cols, hidden()}}));
  if (packed.dtype != DType::kF8E4m3) return packed;
  TRY_ASSIGN(const std::vector<float> gate_scales, floats(scale_name(gate)));
  TRY_ASSIGN(const std::vector<float> up_scales, floats(scale_name(up)));
  parallel::ExpandedScales expanded = parallel::expand_gate_up_scales(
      gate_scales, up_scales, (config_.hidden + kBlock - 1) / kBlock, cols);
  packed.scales = std::move(expanded.values);
  packed.rows_per_scale = expanded.rows_per_scale;
  return packed;
}

Result<void> WeightPacker::add_down_scales(const std::string& name, Range cols,
                                           PackedLinear& packed) const {
  CHECK_EQ(cols.begin % kBlock, 0);  // plan_shards() cuts no block
  TRY_ASSIGN(const std::vector<float> scales, floats(scale_name(name)));
  const int64_t stored_cols = checkpoint_.tensor(scale_name(name)).shape[1];
  const int64_t num_cols = (cols.size() + kBlock - 1) / kBlock;
  for (int64_t row = 0; row * kBlock < packed.rows; ++row) {
    const auto from = scales.begin() + row * stored_cols + cols.begin / kBlock;
    packed.scales.insert(packed.scales.end(), from, from + num_cols);
  }
  packed.rows_per_scale = kBlock;
  return {};
}

Result<PackedLinear> WeightPacker::down(const std::string& prefix, Range cols) const {
  const std::string name = prefix + "down_proj.weight";
  TRY_ASSIGN(PackedLinear packed, pack({{name, hidden(), cols}}));
  if (packed.dtype == DType::kF8E4m3) TRY(add_down_scales(name, cols, packed));
  return packed;
}

Result<PackedLinear> WeightPacker::vocab_rows(const std::string& name) const {
  const Range rank_rows = shard_.vocab_rows;
  const Range rows{std::min(rank_rows.begin, config_.vocab),
                   std::min(rank_rows.end, config_.vocab)};
  return pack({{name, rows, hidden()}}, rank_rows.size() - rows.size());
}

Result<std::vector<float>> WeightPacker::floats(const std::string& name, Range range) const {
  const TensorView& tensor = checkpoint_.tensor(name);
  const int64_t element = dtype_bytes(tensor.dtype);
  if (tensor.dtype != DType::kF32 && tensor.dtype != DType::kBf16) {
    return invalid_argument(name + ": dtype " + dtype_name(tensor.dtype) +
                            ", expected F32 or BF16");
  }
  const int64_t all = static_cast<int64_t>(tensor.bytes.size()) / element;
  const int64_t count = range.size() == 0 ? all : range.size();
  CHECK_LE(range.begin + count, all);
  std::vector<float> values(static_cast<size_t>(count));
  const uint8_t* const from = tensor.bytes.data() + range.begin * element;
  if (tensor.dtype == DType::kF32) {
    std::memcpy(values.data(), from, values.size() * sizeof(float));
    return values;
  }
  for (size_t i = 0; i < values.size(); ++i) {
    uint16_t bits = 0;
    std::memcpy(&bits, from + 2 * i, sizeof bits);
    values[i] = bf16_to_float(bits);
  }
  return values;
}

}  // namespace mimo::node
