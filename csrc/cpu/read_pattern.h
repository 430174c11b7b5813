// A look at all numbers of a pattern, in the widest instruction set of the machine.
#pragma once
#include <cstdint>

#include "../row_span.h"

namespace cheblienet {

// The kernels for this machine, as in sparse_rows.h.
struct PatternKernels {
  // Whether vertices are below `vertices`, and entries follow each other from 0 to `entries`. `in_order`: whether row i
  // is that of vertex i.
  bool (*rows_fit)(const RowSpan* rows, int64_t vertices, int64_t entries, bool& in_order);
  // Of numbers without sign; 0, or the largest there is, of none.
  uint32_t (*largest)(const int32_t* numbers, int64_t count);
  uint32_t (*least)(const int32_t* numbers, int64_t count);
};
const PatternKernels& pattern_kernels();

}  // namespace cheblienet
