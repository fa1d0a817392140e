#pragma once

#include <cstdint>

namespace mimo::kernels::cuda {

// Runs of at most so many rows are the decode kernel's, longer ones the prompt kernel's.
constexpr int32_t kDecodeRowsMax = 8;
// Packed rows (query rows times the heads of a kv head) of one block.
constexpr int32_t kDecodeTileRows = 64;
constexpr int32_t kPromptTileRows = 128;
constexpr int32_t kSplitsMax = 64;
// Keys of one pass; passes begin at multiples of it.
constexpr int32_t kKeyBlock = 64;
// What the rows of a run may see together in a layer of a short window; a multiple of 16.
constexpr int32_t kWindowKeysMax = 144;
// Fewer keys are not worth a split: their merge costs as much as their reading. Untuned.
constexpr int32_t kSplitKeysMin = 128;
// The batch-invariant mode's: a sequence is cut by its own length alone, into at most so many
// splits of at least so many keys. H200, 48 layers, ms a step at 4k with 256, 384 and 512 keys: 1
// run 1.961, 1.962 and 1.987, 16 8.593, 8.563 and 8.548, 64 17.73, 17.65 and 17.63, 256 24.74,
// 24.51 and 24.30.
constexpr int32_t kInvariantSplits = 32;
constexpr int32_t kInvariantSplitKeys = 384;

// A row of a unit that blocks of the streaming kernel share is merged in so many parts.
constexpr int32_t kMergeParts = 4;

// AttentionParams as the kernels read them. Packed row i of a run and a kv head is query row
// i / group, head kv_head * group + i % group.
struct AttentionArgs {
  const uint16_t* q;         // [T, kv_heads * group, k_dim] bf16
  const uint16_t* k;         // [page][kv_heads][page_tokens][k_dim] bf16
  const uint16_t* v;         // [page][kv_heads][page_tokens][v_dim] bf16
  uint16_t* out;             // [T, kv_heads * group, v_dim] bf16
  const float* sinks;        // [kv_heads * group] or null
  const int32_t* row_begin;  // [num_runs + 1]
  const int32_t* context;    // [num_runs]
  const int32_t* slot;       // [num_runs] or null
  const int32_t* pages;      // [table rows, stride]
  int32_t num_runs;
  int32_t kv_heads;
  int32_t group;
  int32_t k_dim;       // a multiple of 8
  int32_t v_dim;       // a multiple of 8
  int32_t page_shift;  // log2 of page_tokens; pages hold 16 tokens or more
  int32_t stride;
  int32_t window;      // 0: none
  float scale_log2;    // scale * log2(e)
  int32_t splits_max;  // of the decode kernel's sequences; 1: the workspace is not used
  int32_t split_min;   // key blocks of such a split, at least
  // Decode blocks' partial results, by unit (run, tile, kv head) and split:
  float* partial_sums;   // [units * splits_max][kDecodeTileRows][v_dim], times exp2(-maximum)
  float* partial_stats;  // [units * splits_max][kDecodeTileRows][2] maximum (log2), total
  int32_t* arrivals;     // [units], zero between launches
  // Of the streaming decode kernel, whose partial results lie two to a block; all bits set between
  // launches:
  float* part_sums;     // [2 blocks][kDecodeTileRows][v_dim]
  float* part_stats;    // [2 blocks][kDecodeTileRows][kMergeParts][2]
  int32_t tiles;        // of kDecodeTileRows packed rows, of each run
  int32_t whole_units;  // 1: units are not split
  int32_t unit_cost;    // of a unit's beginning, in key blocks; 0 for whole units
  int32_t share_min;    // key blocks (or whole units) of a block, at least
  int32_t box_rows;     // keys that the copy engine brings at a time; divides a page and kKeyBlock
  int32_t whole_rows;   // 1: all of their columns at a time, else 64
};

}  // namespace mimo::kernels::cuda
