// Lower bounds of the distances between the elements of two blocks, in the widest instruction set of the machine.
#pragma once
#include <cstdint>

#include "../math/metric.h"

namespace cheblienet {

// Elements side by side: the fields of a group's `Element<double>` one after the other, each for the whole block.
constexpr int kBlock = 16;

struct PairBounds {
  double bound[kBlock][kBlock];  // [j][i]: at most the squared distance from element i of one block to j of the other
  double least[kBlock];          // [i]: the least of them
};

// The bounds from all elements of block `from` to the first `count` ones of block `to`.
using BoundPairs = void (*)(const double* from, const double* to, int count, const Metric<double>& metric,
                            PairBounds& out);

struct PairBoundKernels {
  BoundPairs r2, se2, s2, so3;
};

// The kernels for this machine, as in sparse_rows.h.
const PairBoundKernels& pair_bound_kernels();

}  // namespace cheblienet
