// The rows of the operators' sparse matrix as a caller's (V, 4) int32 tensor holds them, on every device.
#pragma once
#include <cstdint>

namespace cheblienet {

// A row of the matrix: its vertex, where its entries of col and value begin and end, and one more than the largest
// column in this row and all before it.
struct alignas(16) RowSpan {
  int32_t vertex, begin, end, reach;
};

}  // namespace cheblienet
