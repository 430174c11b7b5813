// Products of matrices by a processor's tiles (AMX): operands in bfloat16, rounded from float32, and sums in float32.
// What a training step gains by them: docs/benchmarks.md.
#pragma once
#include <cstdint>

#include "../torch_api.h"

namespace cheblienet {

// Whether the processor has tiles, and the framework a product that uses them.
bool has_tiles();

// Products of fewer columns leave a tile, with its rows of 32 elements, partly empty.
constexpr int64_t kTileColumns = 32;

constexpr int64_t even(int64_t n) { return (n + 1) / 2 * 2; }

// Tiles multiply pairs of neighbours along the sum. A left operand is rows of an even length, a right one pairs of rows
// with their elements in turns; a zero completes the last pair. Both round float32 rows, `stride` elements apart.
void round_left(const float* from, int64_t stride, int64_t rows, int64_t columns, BFloat16* to);
void round_right(const float* from, int64_t stride, int64_t rows, int64_t columns, BFloat16* to);

// out (m, n) = a b or out += a b for such operands, with sums over k.
void multiply_tiles(const BFloat16* a, const BFloat16* b, int64_t m, int64_t n, int64_t k, float* out, int64_t stride,
                    bool add);

}  // namespace cheblienet
