// How the kernels of the Chebyshev convolution are launched, without the framework and without the CUDA runtime, so
// that tests launch them in the same way.
#pragma once
#include <algorithm>
#include <cstdint>

namespace cheblienet {

// One recurrence step on `samples` samples. A row of `channels` elements is read and written in packs of 16 bytes; of a
// vertex to the next it is `in_stride` elements in the operands and `out_stride` in the result, of a sample to the next
// `vertices` times that.
struct StepShape {
  int64_t vertices;
  uint32_t in_stride, out_stride, samples, channels;
  // Of one launch: rows [first_row, first_row + rows), each worked on by `tiles` groups of 2^lane_bits lanes.
  uint32_t first_row, rows, tiles, lane_bits;
};

struct Launch {
  uint32_t grid, block;
};

constexpr uint32_t kEdgesBlock = 256, kStepBlock = 256, kDotsBlock = 128;

// One thread per entry.
inline Launch edges_launch(uint32_t entries) {
  return {static_cast<uint32_t>((uint64_t(entries) + kEdgesBlock - 1) / kEdgesBlock), kEdgesBlock};
}

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
    f(shape, Launch{static_cast<uint32_t>((shape.rows * threads + kStepBlock - 1) / kStepBlock), kStepBlock});
  }
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

}  // namespace cheblienet
