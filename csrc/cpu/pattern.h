// A pattern as kernels on the CPU follow it: checked, and how far its rows reach.
//
// A program that was exported, or a matrix put together by hand, may hold any numbers, so every call reads all of them
// before it follows one, in vectors. What that costs: `python -m benchmarks.checks`.
#pragma once
#include <algorithm>
#include <vector>

#include "../torch_api.h"
#include "read_pattern.h"

namespace cheblienet {

// Which rows a block of rows reads. By groups of rows, whose columns are found with one look at all of them.
class Pattern {
 public:
  // More rows than stay in the caches pass through all orders in a wave; fewer are one group.
  static constexpr int64_t kInCache = 8192;

  // Throws where `rows` (V, 4) and `col` (E,) are not those of a matrix (V, V).
  Pattern(const char* op, const Tensor& rows, const Tensor& col);

  bool in_order() const { return in_order_; }
  // Rows [0, to) read none beyond [0, reach(to)), which has them all; to > 0.
  int64_t reach(int64_t to) const { return farthest_[(to - 1) / group_]; }
  // Rows from `row` on read none before this one; not behind `row`.
  int64_t first_read(int64_t row) const { return std::min<int64_t>(row, nearest_[row / group_]); }

 private:
  static constexpr int64_t kGroup = 64;

  int64_t group_;
  bool in_order_ = true;
  std::vector<int32_t> farthest_, nearest_;
};

}  // namespace cheblienet
