// How the kernels of the Chebyshev convolution are launched, without the framework and without the CUDA runtime, so
// that tests launch them in the same way.
#pragma once
#include <algorithm>
#include <cstdint>

#include "../math/host_device.h"

namespace cheblienet {

struct Launch {
  uint32_t grid, block;
};

constexpr uint32_t kVerticesBlock = 256, kStepBlock = 256, kDotsBlock = 128, kOperandsBlock = 256;
constexpr uint32_t kTileThreads = 128;  // at most; a tile has no more rows

constexpr uint32_t blocks_for(uint64_t items, uint32_t block) {
  return static_cast<uint32_t>((items + block - 1) / block);
}

// One thread per entry.
inline Launch vertices_launch(uint32_t entries) { return {blocks_for(entries, kVerticesBlock), kVerticesBlock}; }

// One recurrence step on `samples` samples. A row of `channels` elements is read and written in packs of 16 bytes; of a
// vertex to the next it is `in_stride` elements in the operands and `out_stride` in the result, of a sample to the next
// `vertices` times that. Where `copied` is not 0, the operand's own row goes to the result, and the sum to `copied`
// elements behind it.
struct StepShape {
  int64_t vertices;
  uint32_t in_stride, out_stride, samples, channels, copied;
  // Of one launch: rows [first_row, first_row + rows), each worked on by `tiles` groups of 2^lane_bits lanes.
  uint32_t first_row, rows, tiles, lane_bits;
};

// Samples of one thread: they share the reading of an entry, and their loads are in flight together.
constexpr uint32_t samples_per_thread(uint32_t samples) { return samples % 2 == 0 ? 2 : 1; }

// Calls f(shape, launch), once unless the threads of all rows together were more than 31 bits count.
template <class F>
void for_step_launches(StepShape shape, uint32_t pack, const F& f) {
  const uint64_t sets = shape.samples / samples_per_thread(shape.samples), packs = (shape.channels + pack - 1) / pack;
  const uint64_t items = sets * packs;
  // The widest group that leaves at most an eighth of its lanes without work: its lanes read the entries together.
  shape.lane_bits = 5;
  while ((((items - 1) >> shape.lane_bits) + 1) << shape.lane_bits > items + items / 7) --shape.lane_bits;
  shape.tiles = static_cast<uint32_t>(((items - 1) >> shape.lane_bits) + 1);
  const uint64_t threads = uint64_t(shape.tiles) << shape.lane_bits;
  const int64_t most = std::max<int64_t>(1, static_cast<int64_t>((uint64_t(1) << 31) / threads));
  for (int64_t first = 0; first < shape.vertices; first += most) {
    shape.first_row = static_cast<uint32_t>(first);
    shape.rows = static_cast<uint32_t>(std::min(most, shape.vertices - first));
    f(shape, Launch{blocks_for(shape.rows * threads, kStepBlock), kStepBlock});
  }
}

// Orders on tiles of rows. A slot of an order in the workspace has `width` channels, whole packs; y has `channels`. An
// item is a sample and a chunk of up to 2^pack_bits packs; `splits` blocks share the items of a tile.
struct TileShape {
  int64_t vertices;
  int32_t orders, width, channels, batch;
  int32_t packs, chunks, pack_bits, splits;
  int32_t tiles, tile_rows, plane;  // plane: places for the vertices of a tile and around it, the last one holds zeros
  int32_t from, to;                 // orders from, ..., to - 1, or down to to + 1

  // Distances in packs that keep planes 8 / 2^pack_bits groups of banks apart: copies of the packs of a vertex to its
  // planes do not collide.
  CHEBLIENET_HD int32_t apart(int32_t slots) const { return slots + (((8 >> pack_bits) - slots) & 7); }
  CHEBLIENET_HD int32_t plane_slots() const { return apart(plane); }
  CHEBLIENET_HD int32_t row_slots() const { return apart(tile_rows); }
  // Of one of the two stages: the gathered vertices, what is subtracted, which the result replaces, and what is added.
  CHEBLIENET_HD int32_t stage_slots() const { return (plane_slots() + (from > to ? 2 : 1) * row_slots()) << pack_bits; }
  CHEBLIENET_HD uint32_t shared_bytes() const { return 2 * stage_slots() * 16 + (2 * tile_rows + plane) * 4; }
};

constexpr int32_t kMostSplits = 512;

// One block per tile and split, one thread per row, in whole warps.
inline Launch tile_launch(const TileShape& s) {
  return {static_cast<uint32_t>(s.tiles) * s.splits, static_cast<uint32_t>((s.tile_rows + 31) / 32 * 32)};
}

// Chunks as wide as leave room for two blocks in `shared_limit`, the shared memory of a block at most, down to one
// pack. False where not even that fits.
inline bool choose_chunks(TileShape& shape, uint32_t shared_limit) {
  for (shape.pack_bits = 2; shape.pack_bits >= 0; --shape.pack_bits) {
    const bool fits =
        2 * shape.shared_bytes() <= shared_limit || (shape.pack_bits == 0 && shape.shared_bytes() <= shared_limit);
    if (fits && (shape.pack_bits == 0 || (shape.packs >> shape.pack_bits) > 0)) {
      shape.chunks = (shape.packs + (1 << shape.pack_bits) - 1) >> shape.pack_bits;
      return true;
    }
  }
  return false;
}

// As many splits as `resident` blocks allow, in even shares.
inline void choose_splits(TileShape& shape, int64_t resident) {
  const int64_t items = int64_t(shape.batch) * shape.chunks;
  const int64_t most = std::clamp<int64_t>(resident / shape.tiles, 1, std::min<int64_t>(items, kMostSplits));
  const int64_t rounds = (items + most - 1) / most;
  shape.splits = static_cast<int32_t>((items + rounds - 1) / rounds);
}

// The products for the gradient of the Laplacian: `elements` of a row in slots of `slot`, of which the first counts
// once and the others twice; strides as in StepShape.
struct DotsShape {
  int64_t vertices;
  uint32_t stride, samples, slot, elements;
  bool accumulate;  // onto the gradient that is there
};

// One block per row.
inline Launch dots_launch(const DotsShape& shape) { return {static_cast<uint32_t>(shape.vertices), kDotsBlock}; }

// What the operands of matrix products need before them: weights in another order, filled up with zeros, slot 0 of a
// workspace likewise, and sums of the columns of a matrix, by parts. What is not needed has no elements.
struct PrepareShape {
  int64_t signal_rows, sum_rows;
  int32_t orders, cin, cout, width;  // of the weights (R, Cin, Cout): to (R, width, Cout), or to (Cin, R, width)
  int32_t channels, slot, stride;    // of the signal; of slot 0, and between rows of the workspace
  int32_t columns, parts;            // of the sums; blocks [0, parts) work on them
  bool side_by_side;
};

constexpr int64_t kFillPerThread = 8, kSumRows = 16;
constexpr int32_t kMostParts = 512;

CHEBLIENET_HD int64_t stacked_elements(const PrepareShape& s) {
  return s.side_by_side ? int64_t(s.cin) * s.orders * s.width : int64_t(s.orders) * s.width * s.cout;
}
CHEBLIENET_HD int32_t sum_columns(int32_t columns) {
  return columns < int32_t(kOperandsBlock) ? columns : int32_t(kOperandsBlock);
}
inline int32_t sum_parts(int64_t rows, int32_t columns) {
  if (columns == 0) return 0;
  const int64_t height = kOperandsBlock / sum_columns(columns);
  return static_cast<int32_t>(std::clamp<int64_t>(rows / (height * kSumRows), 1, kMostParts));
}
inline Launch prepare_launch(const PrepareShape& s) {
  const int64_t fills = std::max(stacked_elements(s), s.signal_rows * s.slot);
  const int64_t blocks = (fills + kOperandsBlock * kFillPerThread - 1) / (kOperandsBlock * kFillPerThread);
  return {static_cast<uint32_t>(s.parts + std::min<int64_t>(blocks, 4096)), kOperandsBlock};
}

// The gradient of the weights (R, Cin, Cout) from `shares` products (R, width, Cout) or (Cin, R, width), and the
// gradient of the bias from the sums by parts.
struct FinishShape {
  int32_t orders, cin, cout, width, shares, columns, parts;
  bool side_by_side;
};

constexpr int32_t kFinishColumns = 32;  // of the sums that a block adds up

inline Launch finish_launch(const FinishShape& s) {
  const uint64_t weights = s.shares ? uint64_t(s.orders) * s.cin * s.cout : 0;
  return {blocks_for(s.columns, kFinishColumns) + blocks_for(weights, kOperandsBlock), kOperandsBlock};
}

}  // namespace cheblienet
