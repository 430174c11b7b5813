// The operands of the Chebyshev convolution, checked alike on every device.
#pragma once
#include <vector>

#include "checks.h"
#include "row_span.h"

namespace cheblienet {

constexpr int64_t kMostTileRows = 128;  // threads of a block

// [rows, col], or [rows, col, vertex], or [rows, col, vertex, slots, halo] of V vertices and E entries, as ops/tiles.py
// says: types and shapes. What indices name is checked where a Csr is made, and on the CPU before they are followed.
inline std::vector<Tensor> checked_pattern(const Operands& operands, const std::vector<Tensor>& pattern,
                                           int64_t vertices, int64_t entries) {
  const size_t parts = pattern.size();
  STD_TORCH_CHECK(parts == 2 || parts == 3 || parts == 5, operands.op(),
                  ": pattern: expected rows, col and the tables of a GPU: 2, 3 or 5 tensors, got ", parts);
  STD_TORCH_CHECK(std::max(vertices, entries) < int64_t(1) << 31, operands.op(),
                  ": pattern: expected less than 2^31 vertices and entries, got ", vertices, " and ", entries);
  constexpr ScalarType Int = ScalarType::Int;
  std::vector<Tensor> checked{operands.contiguous("rows", pattern[0], Int, {vertices, 4}, alignof(RowSpan)),
                              operands.contiguous("col", pattern[1], Int, {entries})};
  if (parts > 2) checked.push_back(operands.contiguous("tables: vertex", pattern[2], Int, {entries}));
  if (parts < 5) return checked;
  checked.push_back(operands.contiguous("tables: slots", pattern[3], Int, {kAny, kAny, kAny}));
  const int64_t tiles = pattern[3].size(0), words = pattern[3].size(1), tile_rows = pattern[3].size(2);
  checked.push_back(operands.contiguous("tables: halo", pattern[4], Int, {tiles, kAny}));
  STD_TORCH_CHECK(tiles == 0 || (tile_rows >= 1 && tile_rows <= kMostTileRows && (words == 9 || words == 17) &&
                                 (vertices + tile_rows - 1) / tile_rows == tiles && pattern[4].size(1) >= 1 &&
                                 pattern[4].size(1) <= 1 << 16),
                  operands.op(), ": tables: expected slots (T, 9 or 17, R) and halo (T, 1 to 65536) of T = ceil(",
                  vertices, " / R) tiles of R <= ", kMostTileRows, " rows, got ", words_of(pattern[3]), " and ",
                  words_of(pattern[4]));
  return checked;
}

struct ChebyshevOperands {
  Tensor x, weight;
  std::vector<Tensor> pattern;
  Tensor values;
  std::optional<Tensor> bias, grad;
};

// `grad` for the gradient, otherwise perhaps `bias`.
inline ChebyshevOperands checked_chebyshev(const char* op, const Tensor& x, const Tensor& weight,
                                           const std::vector<Tensor>& pattern, const Tensor& values,
                                           const std::optional<Tensor>& bias, const std::optional<Tensor>& grad = {}) {
  const Operands operands(op, x);
  const Tensor signal = operands.contiguous_signal("x", x, {kAny, kAny, kAny});
  const ScalarType dtype = x.scalar_type();
  const int64_t batch = x.size(0), vertices = x.size(1), cin = x.size(2);
  const Tensor theta = operands.contiguous("weight", weight, dtype, {kAny, cin, kAny});
  const int64_t orders = weight.size(0), cout = weight.size(2);
  STD_TORCH_CHECK(orders >= 1 && cin >= 1 && cout >= 1, op, ": weight: expected R, Cin, Cout of at least 1, got ",
                  words_of(weight));
  const Tensor weights = operands.contiguous("values", values, arithmetic_type(x), {kAny});
  return {signal,
          theta,
          checked_pattern(operands, pattern, vertices, values.size(0)),
          weights,
          operands.contiguous("bias", bias, dtype, {cout}),
          operands.contiguous("grad", grad, dtype, {batch, vertices, cout})};
}

}  // namespace cheblienet
